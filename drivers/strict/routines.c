/* Routines whose only rule is an IRQL, from rules.yaml. */
#include "strict.h"

static const struct irql_rule rules[] = {
#define RULE(name, most, code, detail) {#name, most, code, detail},
#include "rules.h"
#undef RULE
};

const struct irql_rule *irql_rule_find(const char *name)
{
    for (ULONG i = 0; i < RTL_NUMBER_OF(rules); i++)
        if (strcmp(rules[i].name, name) == 0)
            return &rules[i];
    return NULL;
}

void irql_rule_check(const struct irql_rule *rule, const void *caller)
{
    const struct site site = {rule->name, caller};
    KIRQL irql = irql_now();

    stack_check(&site);
    promise_check(&site);
    if (irql > rule->most)
        STOP(&site, rule->code, rule->detail, irql, 0, 0, "is called at %s, and may be at most at %s", irql_name(irql),
             irql_name(rule->most));
}

void irql_rule_of(const struct site *site)
{
    const struct irql_rule *rule = irql_rule_find(site->routine);

    if (rule)
        irql_rule_check(rule, site->caller);
}
