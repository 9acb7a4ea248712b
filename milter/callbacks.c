/* SPDX-License-Identifier: ISC */
#include "callbacks.h"
#include "complete.h"
#include "conn.h"
#include "counters.h"
#include "decision_log.h"
#include "envelope.h"
#include "base/log.h"

#include <libmilter/mfapi.h>

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define NEEDS_CLIENT 1U
#define NEEDS_HEADERS 2U

static struct snapshot_slot *snapshots;

/* Refuse with this reply: at RCPT the recipient, at the end of the message the message. */
static sfsistat refuse(SMFICTX *ctx, const struct policy_reply *reply)
{
    char code[4] = {(char)('0' + reply->code / 100 % 10), (char)('0' + reply->code / 10 % 10),
                    (char)('0' + reply->code % 10), '\0'};

    /* If libmilter does not accept the reply, the MTA uses a reply of its own of the same class. */
    if (smfi_setreply(ctx, code, (char *)reply->enhanced, (char *)reply->text) != MI_SUCCESS)
        log_warning("%s: libmilter did not accept the reply %s %s", conn_queue_id(ctx), code,
                    reply->enhanced);
    return reply->code >= 500 ? SMFIS_REJECT : SMFIS_TEMPFAIL;
}

/* Called only with option bypass_clients, or if the MTA takes no list of macros, because otherwise
 * this stage is not negotiated. */
static sfsistat on_connect(SMFICTX *ctx, char *name, _SOCK_ADDR *address)
{
    struct conn *c = conn_of(ctx, snapshots);
    const struct sockaddr *sa = (const struct sockaddr *)address;

    (void)name;
    if (sa != NULL && sa->sa_family == AF_INET)
        memcpy(&c->client, sa, sizeof(struct sockaddr_in));
    else if (sa != NULL && sa->sa_family == AF_INET6)
        memcpy(&c->client, sa, sizeof(struct sockaddr_in6));
    return SMFIS_NOREPLY;
}

static bool leads_into_tag_domain(const struct conn *c, const char *path)
{
    return address_leads_into(path, strlen(path), c->snapshot->config->tag_domain);
}

/* Look up the sender, for the client that the macros name. Without macros it is the client of
 * on_connect(). */
static void begin_message(SMFICTX *ctx, struct conn *c, const char *sender)
{
    struct sockaddr_storage address;
    struct policy_client client = {.is_authenticated = mta_is_authenticated(ctx)};

    if (mta_client_address(ctx, &address))
        client.address = (const struct sockaddr *)&address;
    else if (c->client.ss_family != 0)
        client.address = (const struct sockaddr *)&c->client;
    policy_begin(c->snapshot->policy, c->scratch, sender, &client, &c->message);
}

static sfsistat on_mail(SMFICTX *ctx, char **argv)
{
    struct conn *c = conn_of(ctx, snapshots);

    conn_forget_message(c);
    c->has_sender = true;
    c->mta = mta_of(ctx);
    if (c->mta == MTA_POSTFIX_CLEANUP) {
        c->is_intruder = leads_into_tag_domain(c, argv[0]);
        c->is_bounce = argv[0][0] == '\0' || strcmp(argv[0], "<>") == 0;
        return SMFIS_NOREPLY;
    }
    begin_message(ctx, c, argv[0]);
    return SMFIS_NOREPLY;
}

/* Can the MTA route by filter_method? Sendmail cannot route by a header that a milter adds: with
 * "header" its mail would pass unfiltered. */
static bool can_filter(SMFICTX *ctx, struct conn *c)
{
    if (c->mta != MTA_SENDMAIL || c->snapshot->config->milter.filter_method != CONFIG_METHOD_HEADER)
        return true;
    if (!c->has_complained)
        log_error("%s: filter_method = \"header\" works with Postfix only, and this MTA is a "
                  "Sendmail: mail is refused until it is \"tag\"",
                  conn_queue_id(ctx));
    c->has_complained = true;
    return false;
}

/*
 * Does Sendmail deliver to a recipient that a milter refuses? Sendmail puts a recipient on its list
 * before it asks the milters, and removes it after a refusal. But Sendmail cannot parse a path with
 * a comma, escaped or not, and so does not remove it. A comma in quotes does no harm, nor one in a
 * source route in brackets.
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
    conn_note_refused(c, ctx);
    if (c->mta == MTA_SENDMAIL && is_sticky(path))
        c->sticky = *reply;
    return refuse(ctx, reply);
}

static sfsistat on_rcpt(SMFICTX *ctx, char **argv)
{
    static const struct policy_reply too_many = {452, "4.5.3", "Too many recipients"};
    static const struct policy_reply bad_setup = {451, "4.3.5",
                                                  "Content filtering is not configured correctly"};
    struct conn *c = conn_of(ctx, snapshots);
    struct policy_decision d;

    if (!c->has_sender)
        return SMFIS_TEMPFAIL; /* libmilter accepts commands in almost any order */
    if (c->mta == MTA_POSTFIX_CLEANUP) {
        c->is_intruder |= leads_into_tag_domain(c, argv[0]);
        return SMFIS_CONTINUE;
    }
    if (c->count == POLICY_RECIPIENTS_MAX)
        return refuse_recipient(ctx, c, argv[0], &too_many);
    if (!can_filter(ctx, c))
        return refuse_recipient(ctx, c, argv[0], &bad_setup);
    int64_t begin_us = metrics_now_us();
    char *completed = complete_recipient(ctx, argv[0], c->snapshot->config->relay.hostname);
    policy_decide(c->snapshot->policy, c->scratch, &c->message, argv[0], completed, argv + 1, &d);
    free(completed);
    struct policy_reply reply = policy_admit(c->snapshot->policy, c->decisions, c->count, &d);
    if (reply.code == 0 && c->mta == MTA_SENDMAIL)
        reply = policy_admit_back(c->snapshot->policy, &d);
    counters_decision(&d, &reply, begin_us);
    if (reply.code != 0 || d.failed != POLICY_OK)
        decision_log_refused(conn_queue_id(ctx), &d, &reply);
    if (reply.code != 0) {
        policy_decision_clear(&d);
        return refuse_recipient(ctx, c, argv[0], &reply);
    }
    conn_keep(c, &d, ctx);
    return SMFIS_CONTINUE;
}

static sfsistat on_data(SMFICTX *ctx)
{
    (void)ctx;
    return SMFIS_CONTINUE;
}

/* Called only with class header_recipient, because otherwise this stage is not negotiated. */
static sfsistat on_header(SMFICTX *ctx, char *name, char *body)
{
    struct conn *c = conn_of(ctx, snapshots);

    if (!c->message.is_bypassed && c->mta != MTA_POSTFIX_CLEANUP &&
        config_has_canonical_class(c->snapshot->config, "header_recipient"))
        headers_see(&c->headers, c->snapshot->policy, c->scratch, name, body);
    return SMFIS_NOREPLY;
}

/* If a table failed for a header, log that. True: the message has to be refused. False: no table
 * failed, or the message goes on with its headers unchanged. */
static bool headers_fail(SMFICTX *ctx, struct conn *c)
{
    if (c->headers.failed == POLICY_OK)
        return false;
    bool refuses = policy_refuses(c->snapshot->policy, c->headers.failed);
    counters_failure(COUNTERS_HEADERS);
    decision_log_message(LOG_LEVEL_WARNING, conn_queue_id(ctx),
                         "headers, status=", refuses ? "tempfail" : "unchanged",
                         c->headers.failure.text);
    headers_clear(&c->headers);
    return refuses;
}

static void log_decisions(SMFICTX *ctx, const struct conn *c)
{
    for (size_t i = 0; i < c->count; i++)
        decision_log_applied(conn_queue_id(ctx), &c->decisions[i]);
}

/*
 * Mail from cleanup(8) is not changed: cleanup(8) gives a milter the rewritten recipient and
 * compares deletions with the original one, so a recipient would get its mail twice, once past its
 * filter. Mail to the tag domain is refused. Here such mail comes only from local users, because
 * messages that are requeued (postsuper -r) are not shown to milters. The refusal comes at the end
 * of the message, so that the message goes back to its sender; a refused recipient or a temporary
 * failure would keep it in the maildrop queue for ever. A bounce is discarded, because a refused
 * bounce is made again and again.
 */
static sfsistat leave_alone(SMFICTX *ctx, struct conn *c)
{
    static const struct policy_reply closed = {550, "5.7.1", "Internal routing domain"};
    sfsistat status = SMFIS_CONTINUE;

    if (c->is_intruder && c->is_bounce) {
        decision_log_message(LOG_LEVEL_WARNING, conn_queue_id(ctx), "", "discarded",
                             "a bounce to an address in the tag domain, which no sender has");
        status = SMFIS_DISCARD;
    } else if (c->is_intruder) {
        decision_log_reply(conn_queue_id(ctx), &closed);
        status = refuse(ctx, &closed);
    } else if (!mta_is_splitlocal(ctx)) {
        decision_log_message(LOG_LEVEL_WARNING, conn_queue_id(ctx), "status=", "unchanged",
                             "this message did not come by SMTP; take splitmilter out of "
                             "non_smtpd_milters, and of internal_mail_filter_classes");
    }
    counters_message(status == SMFIS_CONTINUE);
    conn_forget_message(c);
    return status;
}

static sfsistat on_eom(SMFICTX *ctx)
{
    static const struct policy_reply cannot_change = {451, "4.3.0",
                                                      "Cannot change the recipients now"};
    struct conn *c = conn_of(ctx, snapshots);
    static const struct policy_reply bad_headers = {
        451, "4.3.0", "Header rewriting is not available, try again later"};
    struct policy_plan plan;
    sfsistat status = SMFIS_CONTINUE;

    if (c->mta == MTA_POSTFIX_CLEANUP)
        return leave_alone(ctx, c);
    if (headers_fail(ctx, c)) {
        status = refuse(ctx, &bad_headers);
        counters_message(false);
        conn_forget_message(c);
        return status;
    }
    policy_plan(c->snapshot->policy, c->decisions, c->count,
                c->mta == MTA_SENDMAIL ? POLICY_REWRITTEN_BACK : POLICY_REWRITTEN_PLAIN, &plan);
    if (plan.reply.code == 0)
        plan.reply = c->sticky;
    if (plan.reply.code != 0) {
        decision_log_reply(conn_queue_id(ctx), &plan.reply);
        status = refuse(ctx, &plan.reply);
    } else if (headers_apply(&c->headers, ctx) != 0 || envelope_apply(ctx, c, &plan) != 0) {
        log_error("%s: the MTA did not accept the changes of the message", conn_queue_id(ctx));
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
    conn_close(smfi_getpriv(ctx));
    smfi_setpriv(ctx, NULL);
    return SMFIS_CONTINUE;
}

static const unsigned long needed_actions = SMFIF_ADDRCPT | SMFIF_ADDRCPT_PAR | SMFIF_DELRCPT;

unsigned callbacks_needs(struct snapshot_slot *slot)
{
    struct snapshot *s = snapshot_slot_get(slot);
    unsigned needs = s->config->milter.bypass_client_count > 0 ? NEEDS_CLIENT : 0;

    if (config_has_canonical_class(s->config, "header_recipient"))
        needs |= NEEDS_HEADERS;
    snapshot_unref(s);
    return needs;
}

/*
 * Ask for MAIL, RCPT and end of message only, and give no reply to MAIL, because RCPT gets one. An
 * MTA that cannot leave out DATA sends it, and an MTA that needs all replies gets them from
 * libmilter. The answer depends on the arguments and on callbacks_needs() only.
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
    unsigned needs = callbacks_needs(snapshots);
    bool wants_headers = (needs & NEEDS_HEADERS) != 0;
    if (needs & NEEDS_CLIENT || !(f0 & SMFIF_SETSYMLIST))
        unwanted &= ~(unsigned long)SMFIP_NOCONNECT;
    if (wants_headers)
        unwanted &= ~(unsigned long)SMFIP_NOHDRS;
    if (wants_headers && !(f0 & SMFIF_CHGHDRS)) {
        log_error("the MTA does not let a milter change headers (canonical_classes)");
        return SMFIS_REJECT;
    }
    unwanted |= SMFIP_NODATA | SMFIP_NR_MAIL | SMFIP_NR_CONN | SMFIP_NR_HDR;
    mta_ask(ctx, f0);
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

    snapshots = slot;
    if (smfi_register(filter) != MI_SUCCESS) {
        err_set(err, "libmilter refused the registration");
        return -1;
    }
    return 0;
}
