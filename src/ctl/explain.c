/* SPDX-License-Identifier: ISC */
#include "ctl/explain.h"
#include "base/mem.h"
#include "base/process.h"
#include "ctl/ctl.h"

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

bool explain_is_completed(const struct policy_decision *d)
{
    static const char *const any[] = {"localhost", NULL};
    char *sample = policy_complete(d->rcpt, "", any);

    free(sample);
    return sample != NULL;
}

/* Return the address with the domain that the MTA would add, for the caller to free; NULL if it has
 * a domain already. */
static char *complete(struct explanation *x, const char *path)
{
    static const char *const any[] = {"localhost", NULL};
    char *sample = policy_complete(path, "", any);

    if (sample == NULL)
        return NULL;
    free(sample);
    if (x->origin.domain == NULL)
        x->origin = origin_find(x->config);
    const char *domains[] = {x->origin.domain, x->config->relay.hostname, "localhost", NULL};
    return policy_complete(path, "", domains);
}

/* Decide as splitmilter does: recipient by recipient, then for the whole message. */
static void decide(struct explanation *x, const struct policy *policy, char **recipients)
{
    struct table_scratch *scratch = table_scratch_new();

    char *sender = mem_printf("<%s>", x->sender);
    policy_begin(policy, scratch, sender, &x->client, &x->message);
    free(sender);
    x->decisions = mem_zalloc(x->count * sizeof *x->decisions);
    x->accepted = mem_zalloc(x->count * sizeof *x->accepted);
    for (size_t i = 0; i < x->count; i++) {
        struct policy_decision *d = &x->decisions[i];
        char *path =
            recipients[i][0] == '<' ? mem_strdup(recipients[i]) : mem_printf("<%s>", recipients[i]);
        char *completed = complete(x, path);
        policy_decide(policy, scratch, &x->message, path, completed, NULL, d);
        free(completed);
        free(path);
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
        if (x->decisions[i].reply.code != 0 || x->decisions[i].failed != POLICY_OK)
            return false;
    return x->plan.reply.code == 0;
}

static int explain(struct explanation *x, char **recipients, bool is_json)
{
    struct err err;
    struct policy *policy = policy_open(x->config, &err);

    if (policy == NULL) {
        ctl_complain("%s", err.text);
        return EXIT_CONFIG;
    }
    decide(x, policy, recipients);
    if (is_json)
        explain_print_json(x);
    else
        explain_print_human(x);
    int code = is_clean(x) ? EXIT_OK : EXIT_CHECK_FAILED;
    policy_plan_clear(&x->plan);
    policy_message_clear(&x->message);
    for (size_t i = 0; i < x->count; i++)
        policy_decision_clear(&x->decisions[i]);
    free(x->decisions);
    free(x->accepted);
    policy_close(policy);
    return code;
}

/* As explain(); the message, if there is one, is read from this file. */
static int explain_with(struct explanation *x, const char *path, char **recipients, bool is_json)
{
    struct err err;
    int code = EXIT_UNAVAILABLE;

    if (x->content == NULL)
        return explain(x, recipients, is_json);
    if (explain_read_message(x->config, path, x->content, &err) < 0)
        ctl_complain("%s", err.text);
    else
        code = explain(x, recipients, is_json);
    free(x->content->watches);
    return code;
}

static void set_origin(struct explanation *x, const char *domain)
{
    free(x->origin.domain);
    x->origin = (struct origin){mem_strdup(domain), "--origin"};
}

static int usage(const struct ctl_command *self, struct explanation *x)
{
    free(x->origin.domain);
    return ctl_usage(self);
}

/* Remove the brackets of a sender that is written as in MAIL FROM. The caller frees the result. */
static char *without_brackets(const char *sender)
{
    size_t len = strlen(sender);

    if (len >= 2 && sender[0] == '<' && sender[len - 1] == '>')
        return mem_strndup(sender + 1, len - 2);
    return mem_strdup(sender);
}

int ctl_explain(const struct ctl_command *self, const char *config_path, int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'},          {"client", required_argument, NULL, 'a'},
        {"authenticated", no_argument, NULL, 'u'}, {"origin", required_argument, NULL, 'o'},
        {"message", required_argument, NULL, 'm'}, {0}};
    struct sockaddr_storage client;
    struct explained_message content;
    struct explanation x = {.sender = ""};
    const char *milter = "", *message = NULL;
    bool is_json = false;
    struct err err;
    int c;

    optind = 0;
    while ((c = getopt_long(argc, argv, "f:n:", options, NULL)) != -1) {
        if (c == 'j')
            is_json = true;
        else if (c == 'a' && endpoint_parse_address(optarg, &client))
            x.client.address = (const struct sockaddr *)&client;
        else if (c == 'u')
            x.client.is_authenticated = true;
        else if (c == 'f')
            x.sender = optarg;
        else if (c == 'n')
            milter = optarg;
        else if (c == 'o')
            set_origin(&x, optarg);
        else if (c == 'm')
            message = optarg;
        else
            return usage(self, &x);
    }
    if (optind == argc)
        return usage(self, &x);
    struct config *config = ctl_load(config_path);
    if (config == NULL || config_use_milter(config, milter, &err) < 0) {
        if (config != NULL)
            ctl_complain("%s", err.text);
        config_free(config);
        free(x.origin.domain);
        return EXIT_CONFIG;
    }
    char *sender = without_brackets(x.sender);
    x.sender = sender;
    x.config = config;
    x.count = (size_t)(argc - optind);
    if (message != NULL)
        x.content = &content;
    int code = explain_with(&x, message, argv + optind, is_json);
    free(x.origin.domain);
    free(sender);
    config_free(config);
    return code;
}
