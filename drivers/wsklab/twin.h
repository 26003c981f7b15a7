/*
 * twin.h - deliberately wrong builds, which the lab must catch.
 *
 * `-DWSKLAB_TWIN=NAME` makes one deviation true. Each is one `if (TWIN(NAME))` at the place where a driver
 * really goes wrong; in the correct build every such condition is constant false and leaves no code.
 * drivers/twins.yaml says what each one is and which verdict it must get.
 */
#ifndef WSKLAB_TWIN_H
#define WSKLAB_TWIN_H

#ifndef WSKLAB_TWIN
#define WSKLAB_TWIN CORRECT
#endif

enum twin {
    TWIN_CORRECT,
    TWIN_IGNORES_FLAG,
    TWIN_FIN_AS_ABORT,
    TWIN_KEEPS_AFTER_RST,
    TWIN_NEVER_ENABLES,
    TWIN_ENABLES_LATE,
    TWIN_WRONG_CONTEXT,
    TWIN_RETURNS_FAILURE,
    TWIN_WAITS_IN_CALLBACK,
    TWIN_FREES_IRP_ON_ERROR,
    TWIN_DOUBLE_COMPLETION,
    TWIN_USES_AFTER_CLOSE,
    TWIN_CLOSES_UNDER_CALL,
    TWIN_LEAKS_SOCKET,
    TWIN_LEAKS_MDL,
    TWIN_LEAKS_IRP,
    TWIN_FORGETS_DISABLE,
    TWIN_SENDS_FOREVER,
    TWIN_LOSES_WITHOUT_RECEIVE,
    TWIN_HALF_CLOSE_CUTS,
    TWIN_HANGS_IN_UNLOAD,
    TWIN_SILENT,
    TWIN_GAPS,
    TWIN_CRASHES,
    TWIN_KEEPS_INDICATIONS,
    TWIN_REPEATS_EVENT,
    TWIN_ABORTS_INSTEAD,
    TWIN_BUFFER_WITH_ABORT,
    TWIN_REPEATS_LATE,
    TWIN_ENABLES_TOO_MUCH,
    TWIN_CORRUPTS_SENDS,
    TWIN_CORRUPTS_RECEIVES,
    TWIN_FAILS_TO_ENABLE,
    TWIN_RESETS_AFTER_SEND,
    TWIN_SENDS_SHORT,
    TWIN_NEVER_DEREGISTERS,
    TWIN_UNLOADS_OPEN,
    TWIN_WAITS_FOR_CONNECT,
    TWIN_UNLOADS_IN_CALLBACK,
    TWIN_SHARES_CONTEXT,
    TWIN_IGNORES_OFFSET,
    TWIN_TAKES_FIRST_BUFFER,
    TWIN_FORGETS_HALF_OPEN,
};

#define TWIN_JOIN(name) TWIN_##name
#define TWIN_VALUE(name) TWIN_JOIN(name)
#define TWIN(name) (TWIN_VALUE(WSKLAB_TWIN) == TWIN_##name)

#endif
