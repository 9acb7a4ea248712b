/* SPDX-License-Identifier: ISC */
/* Decides what holds for all recipients of a message, from its sender and its client. */
#include "base/mem.h"
#include "policy/policy_private.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Is the client in one of these networks? Not if its address is not known. */
static bool is_in(const struct endpoint_network *networks, size_t count,
                  const struct policy_client *client)
{
    for (size_t i = 0; client->address != NULL && i < count; i++)
        if (endpoint_network_has(&networks[i], client->address))
            return true;
    return false;
}

/* Look the sender up in sender_filter_maps or sender_copy_maps. *value_out and *reason: set if
 * there is a result; owned by the caller. */
static enum table_result ask_sender(const struct policy *p, struct table_scratch *s,
                                    enum policy_map map, const struct address *sender,
                                    char **value_out, struct policy_reason *reason, struct err *err)
{
    const struct config_filter *whole;
    struct policy_choices choices;
    struct table_match match;

    table_match_init(&match);
    enum table_result r =
        lookup_sender(&p->maps[map], s, sender, p->config->recipient_delimiter, &match, err);
    if (r == TABLE_FOUND) {
        const char *value = buf_str(&match.value);
        int rc = map == POLICY_SENDER_FILTERS
                     ? policy_parse_filters(p->config, value, &whole, &choices, err)
                     : policy_parse_copies(p->config, map, value, &choices, err);
        if (rc == 0) {
            policy_choices_clear(&choices);
            *value_out = mem_strdup(value);
            policy_reason_set(reason, &match);
        } else {
            r = policy_bad_answer(&match, err);
        }
    }
    table_match_clear(&match);
    return r;
}

void policy_begin(const struct policy *p, struct table_scratch *s, const char *sender,
                  const struct policy_client *client, struct policy_message *out)
{
    const struct config_milter *m = &p->config->milter;
    struct address a;
    struct err ignored;

    table_scratch_begin(s);
    memset(out, 0, sizeof *out);
    out->is_bypassed = is_in(m->bypass_clients, m->bypass_client_count, client);
    out->is_outbound =
        client->is_authenticated || is_in(m->local_networks, m->local_network_count, client);
    out->is_from_tag_domain = address_leads_into(sender, strlen(sender), p->config->tag_domain);
    if (out->is_bypassed ||
        p->maps[POLICY_SENDER_FILTERS].count + p->maps[POLICY_SENDER_COPIES].count == 0)
        return;
    /* A sender that is no address is in no table. */
    if (address_parse(sender, strlen(sender), ADDRESS_NULL_OK | ADDRESS_LENIENT, &a, &ignored) != 0)
        return;
    out->failed = policy_failed_of(ask_sender(p, s, POLICY_SENDER_FILTERS, &a, &out->filter_value,
                                              &out->filter_reason, &out->failure));
    if (out->failed == POLICY_OK)
        out->failed = policy_failed_of(ask_sender(p, s, POLICY_SENDER_COPIES, &a, &out->copy_value,
                                                  &out->copy_reason, &out->failure));
    assert((out->failed != POLICY_OK) == (out->failure.text[0] != '\0'));
}

void policy_message_clear(struct policy_message *m)
{
    free(m->filter_value);
    free(m->copy_value);
    policy_reason_clear(&m->filter_reason);
    policy_reason_clear(&m->copy_reason);
    memset(m, 0, sizeof *m);
}
