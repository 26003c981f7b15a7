/*
 * The provider's tests as a program:
 *   provider_test list           names, one per line
 *   provider_test NAME...        runs these tests
 *   provider_test soak COUNT [SETTINGS]
 *                                   COUNT connections, each ended in one of four ways; fails if anything grows
 */
#include "client.h"

#include <string.h>

#include "peer.h"
#include "strict.h"

static const struct test *const suites[] = {connection_tests, closing_tests, transfer_tests, event_tests, listen_tests,
                                            rule_tests,       witness_tests, scarcity_tests, thread_tests};

static const struct test *find(const char *name)
{
    for (SIZE_T i = 0; i < RTL_NUMBER_OF(suites); i++)
        for (const struct test *test = suites[i]; test->name; test++)
            if (!strcmp(test->name, name))
                return test;
    fprintf(stderr, "no test named %s\n", name);
    exit(2);
}

static void list(void)
{
    for (SIZE_T i = 0; i < RTL_NUMBER_OF(suites); i++)
        for (const struct test *test = suites[i]; test->name; test++)
            puts(test->name);
}

enum { TOGETHER = 50 };

/* R73, C57: the end races with the close in the last of the four ways. */
static void end_one(struct connection *client, int peer, int way)
{
    if (way == 0) {
        peer_close(peer);
        CHECK(wait_until(client, &client->graceful, 1));
        CHECK_EQ(call_end(disconnect(client, 0)), STATUS_SUCCESS);
    } else if (way == 1) {
        peer_reset(peer);
        CHECK(wait_until(client, &client->abortive, 1));
    } else if (way == 2) {
        peer_send(peer, 100);
        peer_reset(peer);
        CHECK(wait_until(client, &client->abortive, 1));
    } else
        peer_reset(peer);
    close_connection(client);
    CHECK_EQ(client->graceful + client->abortive <= 1, true);
}

static void soak(int count)
{
    static struct connection clients[TOGETHER];
    int peers[TOGETHER], port = 0, listener = peer_listen(&port);
    shim_counts early = {0}, late;
    int early_descriptors = 0;

    for (int done = 0; done < count; done += TOGETHER) {
        for (int i = 0; i < TOGETHER; i++) {
            CHECK_EQ(connect_to(&clients[i], port), STATUS_SUCCESS);
            peers[i] = peer_accept(listener);
            CHECK_EQ(set_events(clients[i].socket, WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
        }
        for (int i = 0; i < TOGETHER; i++)
            end_one(&clients[i], peers[i], i % 4);
        /* After 2,000 connections the provider's graveyard is full, and nothing may grow any more. */
        if (done < 2000) {
            early = shim_count();
            early_descriptors = open_descriptors();
        }
    }
    late = shim_count();
    if (count > 2000)
        CHECK(late.pool <= early.pool + 2); /* a request may be on its way */
    CHECK_EQ(late.mdls, 0);
    CHECK_EQ(open_descriptors(), early_descriptors);
    peer_close(listener);
}

/* C20 and more: 1,000 connections at once, all reset together. */
static void crowd(int count)
{
    struct connection *clients = calloc((size_t)count, sizeof *clients);
    int *peers = calloc((size_t)count, sizeof *peers), port = 0, listener = peer_listen(&port);

    for (int i = 0; i < count; i++) {
        CHECK_EQ(connect_to(&clients[i], port), STATUS_SUCCESS);
        peers[i] = peer_accept(listener);
        CHECK_EQ(set_events(clients[i].socket, WSK_EVENT_DISCONNECT, NULL), STATUS_SUCCESS);
    }
    for (int i = 0; i < count; i++)
        peer_reset(peers[i]);
    for (int i = 0; i < count; i++)
        CHECK(wait_until(&clients[i], &clients[i].abortive, 1));
    for (int i = 0; i < count; i++)
        close_connection(&clients[i]);
    peer_close(listener);
    free(peers);
    free(clients);
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "list")) {
        list();
        return 0;
    }
    if (argc == 4) { /* what a scenario of the strict mode asks for */
        scenario_asks(argv[--argc]);
        strict_turn_on(STRICT_IRQL);
    }
    if (argc == 3 && (!strcmp(argv[1], "soak") || !strcmp(argv[1], "crowd"))) {
        client_start();
        (argv[1][0] == 's' ? soak : crowd)(atoi(argv[2]));
        client_stop();
        return 0;
    }
    for (int i = 1; i < argc; i++) {
        const struct test *test = find(argv[i]);

        expect_rule("");
        client_start();
        test->run();
        client_stop();
    }
    return argc > 1 ? 0 : 2;
}
