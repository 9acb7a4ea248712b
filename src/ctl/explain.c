/* SPDX-License-Identifier: ISC */
#include "explain.h"
#include "../mem.h"
#include "../process.h"
#include "ctl.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

static bool is_deleted(const struct policy_plan *plan, const char *rcpt)
{
    for (size_t i = 0; i < plan->delete_count; i++)
        if (strcmp(plan->deletes[i], rcpt) == 0)
            return true;
    return false;
}

size_t explain_recipients(const struct explanation *x, struct explained_recipient **out)
{
    size_t count = 0;

    *out = mem_zalloc((x->accepted_count + x->plan.add_count) * sizeof **out);
    if (x->plan.reply.code != 0)
        return 0;
    for (size_t i = 0; i < x->accepted_count; i++)
        if (!is_deleted(&x->plan, x->accepted[i].rcpt))
            (*out)[count++] = (struct explained_recipient){x->accepted[i].original, ""};
    for (size_t i = 0; i < x->plan.add_count; i++)
        (*out)[count++] =
            (struct explained_recipient){x->plan.adds[i].address, x->plan.adds[i].words};
    return count;
}

/* As splitmilter does it, recipient by recipient, then at the end of the message. */
static void decide(struct explanation *x, const struct policy *policy, char **recipients)
{
    struct table_scratch *scratch = table_scratch_new();

    x->decisions = mem_zalloc(x->count * sizeof *x->decisions);
    x->accepted = mem_zalloc(x->count * sizeof *x->accepted);
    for (size_t i = 0; i < x->count; i++) {
        struct policy_decision *d = &x->decisions[i];
        char *path =
            recipients[i][0] == '<' ? mem_strdup(recipients[i]) : mem_printf("<%s>", recipients[i]);
        policy_decide(policy, scratch, path, NULL, d);
        free(path);
        if (d->reply.code == 0)
            d->reply = policy_admit(policy, x->accepted, x->accepted_count, d);
        if (d->reply.code == 0)
            x->accepted[x->accepted_count++] = *d;
    }
    policy_plan(policy, x->accepted, x->accepted_count, POLICY_REWRITTEN_PLAIN, &x->plan);
    table_scratch_free(scratch);
}

static bool is_clean(const struct explanation *x)
{
    for (size_t i = 0; i < x->count; i++)
        if (x->decisions[i].reply.code != 0 || x->decisions[i].failure.text[0] != '\0')
            return false;
    return x->plan.reply.code == 0;
}

static int explain(const struct config *config, const char *sender, char **recipients, size_t count,
                   bool is_json)
{
    struct explanation x = {.config = config, .sender = sender, .count = count};
    struct err err;
    struct policy *policy = policy_open(config, &err);

    if (policy == NULL) {
        ctl_complain("%s", err.text);
        return EXIT_CONFIG;
    }
    decide(&x, policy, recipients);
    if (is_json)
        explain_print_json(&x);
    else
        explain_print_human(&x);
    int code = is_clean(&x) ? EXIT_OK : EXIT_CHECK_FAILED;
    policy_plan_clear(&x.plan);
    for (size_t i = 0; i < x.count; i++)
        policy_decision_clear(&x.decisions[i]);
    free(x.decisions);
    free(x.accepted);
    policy_close(policy);
    return code;
}

int ctl_explain(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
    const char *sender = "";
    bool is_json = false;
    int c;

    optind = 0;
    while ((c = getopt_long(argc, argv, "f:", options, NULL)) != -1) {
        if (c == 'j')
            is_json = true;
        else if (c == 'f')
            sender = optarg;
        else
            return ctl_usage(self);
    }
    if (optind == argc)
        return ctl_usage(self);
    struct config *config = ctl_load(config_path);
    if (config == NULL)
        return EXIT_CONFIG;
    int code = explain(config, sender, argv + optind, (size_t)(argc - optind), is_json);
    config_free(config);
    return code;
}
