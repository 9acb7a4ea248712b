/* SPDX-License-Identifier: ISC */
#include "callbacks.h"
#include "complete.h"
#include "counters.h"
#include "headers.h"
#include "log.h"
#include "mem.h"
#include "mta.h"
#include "policy.h"

#include <libmilter/mfapi.h>

#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* One connection of the MTA; the recipients are those of the message in progress. */
struct conn {
    struct snapshot *snapshot;
    struct table_scratch *scratch;
    struct sockaddr_storage client; /* family 0: not known */
    struct policy_message message;
    struct headers headers;
    struct policy_decision *decisions; /* of the recipients that were accepted */
    size_t count, size;
    bool is_sendmail;
    bool has_sender;  /* MAIL was seen */
    bool has_refused; /* a recipient of this message */
    struct policy_reply
        sticky; /* code != 0: the answer to one that Sendmail delivers to all the same */
    bool has_complained;
};

static struct snapshot_slot *snapshots;
static bool is_inet;

static void conn_forget_message(struct conn *c)
{
    for (size_t i = 0; i < c->count; i++)
        policy_decision_clear(&c->decisions[i]);
    policy_message_clear(&c->message);
    headers_clear(&c->headers);
    free(c->decisions);
    c->decisions = NULL;
    c->has_sender = false;
    c->has_refused = false;
    c->sticky.code = 0;
    c->count = c->size = 0;
}

/* The connection's state, made when it is first needed. */
static struct conn *conn_of(SMFICTX *ctx)
{
    struct conn *c = smfi_getpriv(ctx);

    if (c == NULL) {
        c = mem_zalloc(sizeof *c);
        c->snapshot = snapshot_slot_get(snapshots);
        c->scratch = table_scratch_new();
        smfi_setpriv(ctx, c);
        counters_mta_entered();
    }
    return c;
}

static const char *queue_id(SMFICTX *ctx)
{
    const char *id = smfi_getsymval(ctx, "i");

    return id == NULL ? "NOQUEUE" : id; /* Postfix has none before the second recipient */
}

/* Refuse with this reply: a recipient, or at end of message the message. */
static sfsistat refuse(SMFICTX *ctx, const struct policy_reply *reply)
{
    char code[4] = {(char)('0' + reply->code / 100 % 10), (char)('0' + reply->code / 10 % 10),
                    (char)('0' + reply->code % 10), '\0'};

    /* If libmilter does not take the text, the MTA says its own; the kind of refusal stays. */
    if (smfi_setreply(ctx, code, (char *)reply->enhanced, (char *)reply->text) != MI_SUCCESS)
        log_warning("%s: libmilter did not accept the reply %s %s", queue_id(ctx), code,
                    reply->enhanced);
    return reply->code >= 500 ? SMFIS_REJECT : SMFIS_TEMPFAIL;
}

/* Asked for only with bypass_clients. */
static sfsistat on_connect(SMFICTX *ctx, char *name, _SOCK_ADDR *address)
{
    struct conn *c = conn_of(ctx);
    const struct sockaddr *sa = (const struct sockaddr *)address;

    (void)name;
    if (sa != NULL && sa->sa_family == AF_INET)
        memcpy(&c->client, sa, sizeof(struct sockaddr_in));
    else if (sa != NULL && sa->sa_family == AF_INET6)
        memcpy(&c->client, sa, sizeof(struct sockaddr_in6));
    return is_inet ? SMFIS_CONTINUE : SMFIS_NOREPLY;
}

static sfsistat on_mail(SMFICTX *ctx, char **argv)
{
    struct conn *c = conn_of(ctx);

    conn_forget_message(c);
    policy_begin(c->snapshot->policy, c->scratch, argv[0],
                 c->client.ss_family == 0 ? NULL : (const struct sockaddr *)&c->client,
                 &c->message);
    c->has_sender = true;
    c->is_sendmail = mta_is_sendmail(ctx);
    return SMFIS_NOREPLY;
}

static void log_refused(SMFICTX *ctx, const struct policy_decision *d,
                        const struct policy_reply *reply)
{
    if (d->failed != POLICY_OK)
        log_warning("%s: to=<%s>, status=%s (%s)", queue_id(ctx), d->original,
                    reply->code == 0 ? "unchanged" : "tempfail", d->failure.text);
    else
        log_info("%s: to=<%s>, status=refused (%d %s %s)", queue_id(ctx), d->original, reply->code,
                 reply->enhanced, reply->text);
}

/* Nothing in Sendmail reads a header that a milter adds: mail would pass unfiltered. */
static bool can_filter(SMFICTX *ctx, struct conn *c)
{
    if (!c->is_sendmail || c->snapshot->config->milter.filter_method != CONFIG_METHOD_HEADER)
        return true;
    if (!c->has_complained)
        log_error("%s: filter_method = \"header\" works with Postfix only, and this MTA is a "
                  "Sendmail: mail is refused until it is \"tag\"",
                  queue_id(ctx));
    c->has_complained = true;
    return false;
}

/*
 * Sendmail puts a recipient on its list before it asks milters. If they refuse it, it takes it off
 * again, but not if there is a comma in its path, escaped or not, other than in quotes or in a
 * source route in brackets: it cannot parse that then, and would deliver to it.
 */
static bool is_sticky(const char *path)
{
    bool in_quotes = false;

    if (path[0] == '<' && path[1] == '@')
        path += strcspn(path, ":");
    for (const char *p = path; *p != '\0'; p++) {
        if (*p == '\\' && p[1] != '\0')
            p++;
        else if (*p == '"')
            in_quotes = !in_quotes;
        if (*p == ',' && !in_quotes)
            return true;
    }
    return false;
}

static sfsistat refuse_recipient(SMFICTX *ctx, struct conn *c, const char *path,
                                 const struct policy_reply *reply)
{
    c->has_refused = true;
    counters_refused();
    if (c->is_sendmail && is_sticky(path))
        c->sticky = *reply;
    return refuse(ctx, reply);
}

static void keep(struct conn *c, const struct policy_decision *d)
{
    assert(policy_may_accept(c->snapshot->policy, d));
    if (c->count == c->size) {
        c->size = c->size == 0 ? 4 : c->size * 2;
        c->decisions = mem_grow(c->decisions, c->size, sizeof *c->decisions);
    }
    c->decisions[c->count++] = *d;
}

static sfsistat on_rcpt(SMFICTX *ctx, char **argv)
{
    static const struct policy_reply too_many = {452, "4.5.3", "Too many recipients"};
    static const struct policy_reply bad_setup = {451, "4.3.5",
                                                  "Content filtering is set up wrong"};
    struct conn *c = conn_of(ctx);
    struct policy_decision d;

    if (!c->has_sender)
        return SMFIS_TEMPFAIL; /* libmilter takes commands in nearly any order */
    if (c->count == POLICY_RECIPIENTS_MAX)
        return refuse_recipient(ctx, c, argv[0], &too_many);
    if (!can_filter(ctx, c))
        return refuse_recipient(ctx, c, argv[0], &bad_setup);
    int64_t begin_us = metrics_now_us();
    char *completed = complete_recipient(ctx, argv[0], c->snapshot->config->relay.hostname);
    policy_decide(c->snapshot->policy, c->scratch, &c->message, argv[0], completed, argv + 1, &d);
    free(completed);
    struct policy_reply reply = policy_admit(c->snapshot->policy, c->decisions, c->count, &d);
    if (reply.code == 0 && c->is_sendmail)
        reply = policy_admit_back(c->snapshot->policy, &d);
    counters_decision(&d, &reply, begin_us);
    if (reply.code != 0 || d.failed != POLICY_OK)
        log_refused(ctx, &d, &reply);
    if (reply.code != 0) {
        policy_decision_clear(&d);
        return refuse_recipient(ctx, c, argv[0], &reply);
    }
    keep(c, &d);
    return SMFIS_CONTINUE;
}

static sfsistat on_data(SMFICTX *ctx)
{
    (void)ctx;
    return SMFIS_CONTINUE;
}

static int add_recipient(SMFICTX *ctx, const struct policy_add *a)
{
    char *address = mem_printf("<%s>", a->address);
    int rc =
        *a->words == '\0' ? smfi_addrcpt(ctx, address) : smfi_addrcpt_par(ctx, address, a->words);

    free(address);
    return rc;
}

/* MTAs accept a path without brackets, but Sendmail would split some of them at commas here. */
static int delete_recipient(SMFICTX *ctx, const char *path)
{
    char *bracketed = *path == '<' ? mem_strdup(path) : mem_printf("<%s>", path);
    int rc = smfi_delrcpt(ctx, bracketed);

    free(bracketed);
    return rc;
}

/* Asked for only with class header_recipient. */
static sfsistat on_header(SMFICTX *ctx, char *name, char *body)
{
    struct conn *c = conn_of(ctx);

    if (!c->message.is_bypassed &&
        config_has_canonical_class(c->snapshot->config, "header_recipient"))
        headers_see(&c->headers, c->snapshot->policy, c->scratch, name, body);
    return is_inet ? SMFIS_CONTINUE : SMFIS_NOREPLY;
}

/* A table that failed with a header: refuse the message, or leave its headers alone. */
static bool headers_fail(SMFICTX *ctx, struct conn *c)
{
    if (c->headers.failed == POLICY_OK)
        return false;
    bool refuses = policy_refuses(c->snapshot->policy, c->headers.failed);
    counters_failure(COUNTERS_HEADERS);
    log_warning("%s: headers, status=%s (%s)", queue_id(ctx), refuses ? "tempfail" : "unchanged",
                c->headers.failure.text);
    headers_clear(&c->headers);
    return refuses;
}

/* Additions first, deletions last: whatever fails in between, no recipient is lost. */
static int apply(SMFICTX *ctx, const struct policy_plan *plan)
{
    for (size_t i = 0; i < plan->add_count; i++) {
        if (add_recipient(ctx, &plan->adds[i]) != MI_SUCCESS)
            return -1;
    }
    if (plan->header_name != NULL &&
        smfi_addheader(ctx, (char *)plan->header_name, (char *)plan->header_value) != MI_SUCCESS)
        return -1;
    for (size_t i = 0; i < plan->delete_count; i++) {
        if (delete_recipient(ctx, plan->deletes[i]) != MI_SUCCESS)
            return -1;
    }
    return 0;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool is_deleted(const struct policy_plan *plan, const struct policy_decision *d)
{
    const char *rcpt = d->rcpt;

    return plan->delete_count > 0 && bsearch(&rcpt, plan->deletes, plan->delete_count,
                                             sizeof *plan->deletes, compare_strings) != NULL;
}

/* The same recipient once more, with the wishes of the client. */
static int add_again(SMFICTX *ctx, const struct policy_decision *d)
{
    struct policy_add again = {.address = d->original};
    struct address original;
    struct err ignored;
    struct buf words = {0};

    if ((*d->dsn.notify != '\0' || *d->dsn.orcpt != '\0') &&
        address_parse(d->original, strlen(d->original), ADDRESS_LENIENT, &original, &ignored) == 0)
        dsn_words(&d->dsn, d->dsn.notify, &original, &words);
    again.words = buf_take(&words);
    int rc = add_recipient(ctx, &again);
    free(again.words);
    return rc;
}

/*
 * Sendmail goes by what an address resolves to when a recipient is deleted, and also when one is
 * refused by a milter: it then takes another one from its list that is the same to it. Local
 * domains share their users, virtual users end at one address, "a@b.." is a@b. So whoever is to
 * stay is added once more; that changes nothing if he is still there.
 */
static int restore(SMFICTX *ctx, const struct conn *c, const struct policy_plan *plan)
{
    if (plan->delete_count == 0 && !c->has_refused)
        return 0;
    for (size_t i = 0; i < c->count; i++) {
        if (!is_deleted(plan, &c->decisions[i]) && add_again(ctx, &c->decisions[i]) != MI_SUCCESS)
            return -1;
    }
    return 0;
}

static void log_decisions(SMFICTX *ctx, const struct conn *c)
{
    struct buf line = {0};

    for (size_t i = 0; i < c->count; i++) {
        buf_reset(&line);
        policy_log_line(&c->decisions[i], &line);
        if (line.len > 0)
            log_info("%s: %s", queue_id(ctx), buf_str(&line));
    }
    buf_clear(&line);
}

static sfsistat on_eom(SMFICTX *ctx)
{
    static const struct policy_reply cannot_change = {451, "4.3.0",
                                                      "Cannot change the recipients now"};
    struct conn *c = conn_of(ctx);
    static const struct policy_reply bad_headers = {
        451, "4.3.0", "Header rewriting is not available, try again later"};
    struct policy_plan plan;
    sfsistat status = SMFIS_CONTINUE;

    if (headers_fail(ctx, c)) {
        status = refuse(ctx, &bad_headers);
        counters_message(false);
        conn_forget_message(c);
        return status;
    }
    policy_plan(c->snapshot->policy, c->decisions, c->count,
                c->is_sendmail ? POLICY_REWRITTEN_BACK : POLICY_REWRITTEN_PLAIN, &plan);
    if (plan.reply.code == 0)
        plan.reply = c->sticky;
    if (plan.reply.code != 0) {
        log_info("%s: refused (%d %s %s)", queue_id(ctx), plan.reply.code, plan.reply.enhanced,
                 plan.reply.text);
        status = refuse(ctx, &plan.reply);
    } else if (headers_apply(&c->headers, ctx) != 0 || apply(ctx, &plan) != 0 ||
               (c->is_sendmail && restore(ctx, c, &plan) != 0)) {
        log_error("%s: the MTA did not accept the changes of the message", queue_id(ctx));
        status = refuse(ctx, &cannot_change);
        counters_failure(COUNTERS_CHANGES);
    } else {
        log_decisions(ctx, c);
    }
    counters_message(status == SMFIS_CONTINUE);
    policy_plan_clear(&plan);
    conn_forget_message(c);
    return status;
}

static sfsistat on_abort(SMFICTX *ctx)
{
    struct conn *c = smfi_getpriv(ctx);

    if (c != NULL)
        conn_forget_message(c);
    return SMFIS_CONTINUE;
}

static sfsistat on_close(SMFICTX *ctx)
{
    struct conn *c = smfi_getpriv(ctx);

    if (c != NULL) { /* NULL when the MTA negotiated and left */
        conn_forget_message(c);
        table_scratch_free(c->scratch);
        snapshot_unref(c->snapshot);
        free(c);
        smfi_setpriv(ctx, NULL);
        counters_mta_left();
    }
    return SMFIS_CONTINUE;
}

static const unsigned long needed_actions = SMFIF_ADDRCPT | SMFIF_ADDRCPT_PAR | SMFIF_DELRCPT;

/*
 * Only MAIL, RCPT and end of message are of interest, and MAIL needs no answer: what follows has
 * one. Over inet sockets DATA is asked for and answered nevertheless: an MTA sends the macros of a
 * stage even if it skips the stage, and a packet that nobody answers stays unacknowledged for 40 ms
 * (delayed ACK), while Nagle's algorithm holds back what follows.
 */
static sfsistat negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2,
                          unsigned long f3, unsigned long *pf0, unsigned long *pf1,
                          unsigned long *pf2, unsigned long *pf3)
{
    unsigned long unwanted = SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NOUNKNOWN | SMFIP_NOHDRS |
                             SMFIP_NOEOH | SMFIP_NOBODY;
    (void)f2;
    (void)f3;

    if ((f0 & needed_actions) != needed_actions) {
        log_error("the MTA does not let a milter add and delete recipients with ESMTP parameters");
        return SMFIS_REJECT;
    }
    struct snapshot *s = snapshot_slot_get(snapshots);
    if (s->config->milter.bypass_client_count > 0)
        unwanted &= ~(unsigned long)SMFIP_NOCONNECT;
    bool wants_headers = config_has_canonical_class(s->config, "header_recipient");
    snapshot_unref(s);
    if (wants_headers)
        unwanted &= ~(unsigned long)SMFIP_NOHDRS;
    if (wants_headers && !(f0 & SMFIF_CHGHDRS)) {
        log_error("the MTA does not let a milter change headers (canonical_classes)");
        return SMFIS_REJECT;
    }
    unwanted |= SMFIP_NR_MAIL;
    if (!is_inet)
        unwanted |= SMFIP_NODATA | SMFIP_NR_CONN | SMFIP_NR_HDR;
    mta_ask(ctx, f0, is_inet);
    *pf0 = needed_actions | (f0 & SMFIF_ADDHDRS) | (wants_headers ? SMFIF_CHGHDRS : 0);
    *pf1 = f1 & unwanted;
    *pf2 = *pf3 = 0;
    return SMFIS_CONTINUE;
}

int callbacks_register(struct snapshot_slot *slot, struct err *err)
{
    struct smfiDesc filter = {
        .xxfi_name = "splitmilter",
        .xxfi_version = SMFI_VERSION,
        .xxfi_flags = needed_actions | SMFIF_ADDHDRS | SMFIF_CHGHDRS,
        .xxfi_connect = on_connect,
        .xxfi_envfrom = on_mail,
        .xxfi_envrcpt = on_rcpt,
        .xxfi_data = on_data,
        .xxfi_header = on_header,
        .xxfi_eom = on_eom,
        .xxfi_abort = on_abort,
        .xxfi_close = on_close,
        .xxfi_negotiate = negotiate,
    };
    struct snapshot *s = snapshot_slot_get(slot);

    snapshots = slot;
    is_inet = s->config->milter.socket.kind == ENDPOINT_INET;
    snapshot_unref(s);
    if (smfi_register(filter) != MI_SUCCESS) {
        err_set(err, "libmilter refused the registration");
        return -1;
    }
    return 0;
}
