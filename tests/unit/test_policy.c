/* SPDX-License-Identifier: ISC */
/* From recipients and a configuration to envelope changes, all as text. */
#include "policy/policy.h"
#include "policy/snapshot.h"
#include "unit.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FILTERS                                                                                    \
    "filter secondary { nexthop = \"smtp:[secondaryfilter.domain.com]:25\" }\n"                    \
    "filter primary { nexthop = \"smtp:[primaryfilter.domain.com]:10024\" }\n"                     \
    "filter backed { nexthop = \"smtp:[f.test]\" fallback = \"smtp:[g.test]\" }\n"
#define DESTINATIONS                                                                               \
    "destination archive { relay_to = { \"[127.0.0.1]:2601\" } }\n"                                \
    "destination newmail { relay_to = { \"[127.0.0.1]:2602\" } recipient = \"canonical\" }\n"      \
    "relay { hostname = \"relay.test\" }\n"

static struct snapshot *load(const char *milter, struct err *err)
{
    char path[] = "/tmp/test_policy.XXXXXX";
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    dprintf(fd, "recipient_delimiter = \"+\"\nmilter {\n%s\n}\n%s%s", milter, FILTERS,
            DESTINATIONS);
    close(fd);
    struct snapshot *s = snapshot_load(path, "", SNAPSHOT_WITH_TABLES, err);
    unlink(path);
    return s;
}

static void print_plan(const struct policy_plan *plan, struct buf *out)
{
    for (size_t i = 0; i < plan->add_count; i++)
        buf_addf(out, "+%s %s\n", plan->adds[i].address, plan->adds[i].words);
    if (plan->header_name != NULL)
        buf_addf(out, "%s: %s\n", plan->header_name, plan->header_value);
    for (size_t i = 0; i < plan->delete_count; i++)
        buf_addf(out, "-%s\n", plan->deletes[i]);
    if (plan->reply.code != 0)
        buf_addf(out, "reply %d %s\n", plan->reply.code, plan->reply.enhanced);
}

static struct sockaddr_in client;

/* Take a line "CLIENT ADDRESS" or "MAIL PATH". False: the line is a recipient. */
static bool begin(const struct snapshot *s, struct table_scratch *scratch, char *line,
                  struct policy_message *message)
{
    if (strncmp(line, "CLIENT ", 7) == 0) {
        client.sin_family = AF_INET;
        ck_assert_int_eq(inet_pton(AF_INET, line + 7, &client.sin_addr), 1);
        return true;
    }
    if (strncmp(line, "MAIL ", 5) != 0)
        return false;
    const struct policy_client from = {
        .address = client.sin_family == 0 ? NULL : (const struct sockaddr *)&client};
    policy_begin(s->policy, scratch, line + 5, &from, message);
    return true;
}

/* rcpts: lines for begin(), then one line for each recipient, "PATH [WORD...]" */
static void run_as(enum policy_rewritten rewritten, const char *milter, const char *rcpts,
                   struct buf *out)
{
    struct err err = {""};
    struct snapshot *s = load(milter, &err);
    struct policy_decision decisions[16];
    struct policy_message message = {0};
    size_t count = 0;
    char copy[2048];

    ck_assert_msg(s != NULL, "%s", err.text);
    struct table_scratch *scratch = table_scratch_new();
    snprintf(copy, sizeof copy, "%s", rcpts);
    char *line_state = NULL;
    for (char *line = strtok_r(copy, "\n", &line_state); line != NULL;
         line = strtok_r(NULL, "\n", &line_state)) {
        if (begin(s, scratch, line, &message))
            continue;
        char *words[8] = {NULL};
        char *word_state = NULL;
        char *path = strtok_r(line, " ", &word_state);
        for (size_t i = 0; i < 7 && (words[i] = strtok_r(NULL, " ", &word_state)) != NULL; i++)
            ;
        char *completed = policy_complete(path, "", (const char *const[]){"host.test", NULL});
        policy_decide(s->policy, scratch, &message, path, completed, words, &decisions[count]);
        free(completed);
        struct policy_reply reply = decisions[count].reply;
        if (reply.code == 0)
            reply = policy_admit(s->policy, decisions, count, &decisions[count]);
        if (reply.code == 0 && rewritten == POLICY_REWRITTEN_BACK)
            reply = policy_admit_back(s->policy, &decisions[count]);
        if (reply.code == 0) {
            count++;
            continue;
        }
        buf_addf(out, "%s %d %s\n", path, reply.code, reply.enhanced);
        policy_decision_clear(&decisions[count]);
    }
    struct policy_plan plan;
    policy_plan(s->policy, decisions, count, rewritten, &plan);
    print_plan(&plan, out);
    policy_plan_clear(&plan);
    for (size_t i = 0; i < count; i++)
        policy_decision_clear(&decisions[i]);
    policy_message_clear(&message);
    client.sin_family = 0;
    table_scratch_free(scratch);
    snapshot_unref(s);
}

static void run(const char *milter, const char *rcpts, struct buf *out)
{
    run_as(POLICY_REWRITTEN_PLAIN, milter, rcpts, out);
}

#define ARTICLE                                                                                    \
    "filter_maps = { \"inline:{ firstmailaddress@domain.com=smtp:secondaryfilter.domain.com:25, "  \
    "secondmailaddress@otherdomain.com=smtp:secondaryfilter.domain.com:25, "                       \
    "*=smtp:primaryfilter.domain.com:10024 }\" }\n"                                                \
    "canonical_maps = { \"inline:{ firstmailaddress@domain.com=alias123@application.com }\" }\n"
#define SENDERS                                                                                    \
    "sender_filter_maps = { \"inline:{ sender.test=secondary, <>=none }\" }\n"                     \
    "sender_copy_maps = { 'inline:{ boss@sender.test=newmail }', 'inline:{ a@b=archive }' }\n"     \
    "filter_maps = { \"static:primary\" }\ncopy_maps = { \"inline:{ x.test=archive }\" }\n"
#define BEHIND                                                                                     \
    "orcpt_maps = { \"inline:{ a@x.test=c@z.test }\" }\n"                                          \
    "copy_maps = { \"inline:{ { a@x.test = archive newmail }, c@z.test=newmail }\" }\n"
#define BYPASS "bypass_clients = { \"192.0.2.0/24\" }\n"
#define HEADER "filter_method = \"header\"\n"

static const struct {
    const char *name, *milter, *rcpts, *expected;
} cases[] = {
    {"nothing configured", "", "<a@x.test>\n<B@y.test>", ""},
    {"the article", ARTICLE,
     "<firstmailaddress@domain.com>\n<secondmailaddress@otherdomain.com>\n<third@domain.com>",
     "+alias123@application.com.secondary.filter.split.invalid "
     "ORCPT=rfc822;firstmailaddress@domain.com\n"
     "+secondmailaddress@otherdomain.com.secondary.filter.split.invalid "
     "ORCPT=rfc822;secondmailaddress@otherdomain.com\n"
     "+third@domain.com.primary.filter.split.invalid ORCPT=rfc822;third@domain.com\n"
     "-<firstmailaddress@domain.com>\n-<secondmailaddress@otherdomain.com>\n-<third@domain.com>\n"},
    {"DSN wishes", "filter_maps = { \"static:primary\" }\ncopy_maps = { \"static:archive\" }",
     "<U+x@Domain.com> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;other@z.test",
     "+U+x@Domain.com.primary.filter.split.invalid NOTIFY=SUCCESS,FAILURE "
     "ORCPT=rfc822;other@z.test\n"
     "+U+x@Domain.com.archive.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;other@z.test\n"
     "-<U+x@Domain.com>\n"},
    {"copies only: the recipient stays", "copy_maps = { \"static:archive, newmail\" }",
     "<a@x.test>",
     "+a@x.test.archive.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;a@x.test\n"
     "+a@x.test.newmail.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;a@x.test\n"},
    {"copies of the original and the canonical address",
     "copy_maps = { \"static:archive newmail\" }\ncanonical_maps = { \"static:c@z.test\" }",
     "<a@x.test>",
     "+c@z.test ORCPT=rfc822;a@x.test\n"
     "+a@x.test.archive.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;a@x.test\n"
     "+c@z.test.newmail.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;a@x.test\n"
     "-<a@x.test>\n"},
    {"two that end at the same address are one", "canonical_maps = { \"static:C@z.test\" }",
     "<a@x.test>\n<b@x.test> NOTIFY=NEVER",
     "+C@z.test ORCPT=rfc822;a@x.test\n-<a@x.test>\n-<b@x.test>\n"},
    {"one ends where another is", "canonical_maps = { \"inline:{ a@x.test=b@x.test }\" }",
     "<a@x.test>\n<B@x.test>", "-<a@x.test>\n"},
    {"a chain: who is ended at stays",
     "canonical_maps = { \"inline:{ a@x.test=b@x.test, b@x.test=b@x.test }\" }",
     "<b@x.test>\n<a@x.test>", "-<a@x.test>\n"},
    {"the same recipient twice", "filter_maps = { \"static:primary\" }", "<a@x.test>\n<a@x.test>",
     "+a@x.test.primary.filter.split.invalid ORCPT=rfc822;a@x.test\n-<a@x.test>\n"},
    {"the same but for the case", "filter_maps = { \"static:primary\" }", "<a@x.test>\n<A@X.test>",
     "+a@x.test.primary.filter.split.invalid ORCPT=rfc822;a@x.test\n-<A@X.test>\n-<a@x.test>\n"},
    {"a source route: deleted as it came, and without", "filter_maps = { \"static:primary\" }",
     "<@r.test,@s.test:a@x.test>\nb@x.test\n<c@x.test.>",
     "+a@x.test.primary.filter.split.invalid ORCPT=rfc822;a@x.test\n"
     "+b@x.test.primary.filter.split.invalid ORCPT=rfc822;b@x.test\n"
     "+c@x.test.primary.filter.split.invalid ORCPT=rfc822;c@x.test\n"
     "-<@r.test,@s.test:a@x.test>\n-<c@x.test.>\n-a@x.test\n-b@x.test\n-c@x.test\n"},
    {"what MTAs read in different ways", ARTICLE "copy_maps = { \"inline:{ c.test=archive }\" }",
     "<a(b)@x.test>\n<a:b@x.test>\n<a,b@c.test>\n<a\\b@x.test>\n<\"a,b\"@x.test>",
     "<a(b)@x.test> 550 5.1.3\n<a:b@x.test> 550 5.1.3\n<a,b@c.test> 550 5.1.3\n"
     "<a\\b@x.test> 550 5.1.3\n"
     "+\"a,b\"@x.test.primary.filter.split.invalid ORCPT=rfc822;\"a,b\"@x.test\n"
     "-<\"a,b\"@x.test>\n"},
    {"and what nobody touches", "", "<a(b)@x.test>\n<a,b@c.test>", ""},
    {"tag domain is closed", "", "<a@x.test.primary.filter.split.invalid>\n<a@Split.Invalid>",
     "<a@x.test.primary.filter.split.invalid> 550 5.7.1\n<a@Split.Invalid> 550 5.7.1\n"},
    {"for senders, too: their bounces would go there", ARTICLE BYPASS,
     "MAIL <x@Archive.copy.Split.Invalid>\n<third@domain.com>\n"
     "<third@domain.com.primary.filter.split.invalid>",
     "<third@domain.com> 550 5.7.1\n<third@domain.com.primary.filter.split.invalid> 550 5.7.1\n"},
    {"even of clients that are bypassed", ARTICLE BYPASS,
     "CLIENT 192.0.2.7\nMAIL <x%archive.copy.split.invalid@x.test>\n<third@domain.com>",
     "<third@domain.com> 550 5.7.1\n"},
    {"cannot carry a tag", "filter_maps = { \"static:primary\" }",
     "<a@[192.0.2.1]>\n<\"open@x.test>", "<a@[192.0.2.1]> 550 5.1.3\n<\"open@x.test> 550 5.1.3\n"},
    {"needs no tag", "filter_maps = { \"inline:{ x.test=primary }\" }",
     "<postmaster>\n<a@[192.0.2.1]>", ""},
    {"no domain: looked up and tagged as it is completed, deleted as it was given",
     "filter_maps = { \"static:primary\" }", "<Postmaster>\nroot",
     "+Postmaster@host.test.primary.filter.split.invalid ORCPT=rfc822;Postmaster@host.test\n"
     "+root@host.test.primary.filter.split.invalid ORCPT=rfc822;root@host.test\n"
     "-<Postmaster>\n-Postmaster@host.test\n-root\n-root@host.test\n"},
    {"no domain: found by the domain of the MTA, rewritten, copied",
     "filter_maps = { \"inline:{ host.test=primary, *=secondary }\" }\n"
     "canonical_maps = { \"inline:{ root@host.test=admin@x.test }\" }\n"
     "copy_maps = { \"inline:{ postmaster@host.test=archive }\" }",
     "<root>\n<postmaster>",
     "+admin@x.test.primary.filter.split.invalid ORCPT=rfc822;root@host.test\n"
     "+postmaster@host.test.primary.filter.split.invalid ORCPT=rfc822;postmaster@host.test\n"
     "+postmaster@host.test.archive.copy.split.invalid NOTIFY=NEVER "
     "ORCPT=rfc822;postmaster@host.test\n"
     "-<postmaster>\n-<root>\n-postmaster@host.test\n-root@host.test\n"},
    {"no domain: one with the domain is the same recipient",
     "canonical_maps = { \"inline:{ a@x.test=root@host.test }\" }", "<a@x.test>\n<root>",
     "-<a@x.test>\n"},
    {"no domain: nothing is done where no table has it",
     "filter_maps = { \"inline:{ x.test=primary }\" }", "<postmaster>\n<root@host.test>", ""},
    {"header: one filter for all", HEADER ARTICLE, "<third@domain.com>\n<fourth@domain.com>",
     "X-Split-Filter: smtp:[primaryfilter.domain.com]:10024\n"},
    {"header: rewritten recipients go without tag", HEADER ARTICLE, "<firstmailaddress@domain.com>",
     "+alias123@application.com ORCPT=rfc822;firstmailaddress@domain.com\n"
     "X-Split-Filter: smtp:[secondaryfilter.domain.com]:25\n-<firstmailaddress@domain.com>\n"},
    {"header: mixed filters are tagged", HEADER ARTICLE,
     "<third@domain.com>\n<secondmailaddress@otherdomain.com>",
     "+third@domain.com.primary.filter.split.invalid ORCPT=rfc822;third@domain.com\n"
     "+secondmailaddress@otherdomain.com.secondary.filter.split.invalid "
     "ORCPT=rfc822;secondmailaddress@otherdomain.com\n"
     "-<secondmailaddress@otherdomain.com>\n-<third@domain.com>\n"},
    {"header: mixed filters are deferred", HEADER "mixed_filters = \"defer\"\n" ARTICLE,
     "<third@domain.com>\n<secondmailaddress@otherdomain.com>\n<fourth@domain.com>",
     "<secondmailaddress@otherdomain.com> 451 4.5.3\n"
     "X-Split-Filter: smtp:[primaryfilter.domain.com]:10024\n"},
    {"header: a copy needs tags",
     HEADER "copy_maps = { \"inline:{ third@domain.com=archive }\" }\n" ARTICLE,
     "<third@domain.com>\n<fourth@domain.com>",
     "+third@domain.com.primary.filter.split.invalid ORCPT=rfc822;third@domain.com\n"
     "+third@domain.com.archive.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;third@domain.com\n"
     "+fourth@domain.com.primary.filter.split.invalid ORCPT=rfc822;fourth@domain.com\n"
     "-<fourth@domain.com>\n-<third@domain.com>\n"},
    {"header: a recipient without filter needs tags for the others",
     HEADER "filter_maps = { \"inline:{ x.test=primary }\" }", "<a@x.test>\n<b@y.test>",
     "+a@x.test.primary.filter.split.invalid ORCPT=rfc822;a@x.test\n-<a@x.test>\n"},
    {"header: cannot carry the tag that the others make necessary",
     HEADER "filter_maps = { \"static:primary\" }\ncopy_maps = { \"inline:{ x.test=archive }\" }",
     "<b@[192.0.2.1]>\n<a@x.test>",
     "+a@x.test.primary.filter.split.invalid ORCPT=rfc822;a@x.test\nreply 550 5.1.3\n"},
    {"header: a filter with fallback needs tags", HEADER "filter_maps = { \"static:backed\" }",
     "<a@x.test>\n<b@[192.0.2.1]>",
     "<b@[192.0.2.1]> 550 5.1.3\n"
     "+a@x.test.backed.filter.split.invalid ORCPT=rfc822;a@x.test\n-<a@x.test>\n"},
    {"an existing transport map: what Postfix delivers by itself",
     "filter_maps = { \"inline:{ {a@x.test=smtp}, {b@x.test=smtp:}, {c@x.test=local:}, "
     "{d@x.test=:}, "
     "{e@x.test=error:5.1.6 moved, 10% of it}, {f@x.test=discard:}, {g@x.test=retry:4.0.0 later}, "
     "{h@x.test=relay:}, {i@x.test=virtual}, {j@x.test=lmtp:}, {k@x.test=primary 1%, local:}, "
     "*=smtp:primaryfilter.domain.com:10024 }\" }",
     "<a@x.test>\n<b@x.test>\n<c@x.test>\n<d@x.test>\n<e@x.test>\n<f@x.test>\n<g@x.test>\n<h@x."
     "test>\n"
     "<i@x.test>\n<j@x.test>\n<k@x.test>\n<l@x.test>",
     "+l@x.test.primary.filter.split.invalid ORCPT=rfc822;l@x.test\n-<l@x.test>\n"},
    {"an existing transport map: next hops that are no filters",
     "unfiltered_nexthops = { \"lmtp:unix:private/x\", \"relay:[store.test]:25\", \"dovecot:\" }\n"
     "filter_maps = { \"inline:{ a@x.test=lmtp:unix:private/x, b@x.test=relay:store.test, "
     "c@x.test=dovecot:, d@x.test=primary }\" }",
     "<a@x.test>\n<b@x.test>\n<c@x.test>\n<d@x.test>",
     "+d@x.test.primary.filter.split.invalid ORCPT=rfc822;d@x.test\n-<d@x.test>\n"},
    {"none in any table", "filter_maps = { \"static:none\" }\ncopy_maps = { \"static:none\" }",
     "<a@x.test>", ""},
    {"the sender's filter comes first, its copies are added", SENDERS,
     "MAIL <Boss+x@Sender.test>\n<a@x.test>\n<b@y.test>",
     "+a@x.test.secondary.filter.split.invalid ORCPT=rfc822;a@x.test\n"
     "+a@x.test.newmail.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;a@x.test\n"
     "+a@x.test.archive.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;a@x.test\n"
     "+b@y.test.secondary.filter.split.invalid ORCPT=rfc822;b@y.test\n"
     "+b@y.test.newmail.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;b@y.test\n"
     "-<a@x.test>\n-<b@y.test>\n"},
    {"another sender", SENDERS, "MAIL <x@other.test>\n<b@y.test>",
     "+b@y.test.primary.filter.split.invalid ORCPT=rfc822;b@y.test\n-<b@y.test>\n"},
    {"the null sender, for which there is none", SENDERS, "MAIL <>\n<a@x.test>",
     "+a@x.test.archive.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;a@x.test\n"},
    {"a client that is bypassed", SENDERS BYPASS,
     "CLIENT 192.0.2.7\nMAIL "
     "<boss@sender.test>\n<a@x.test>\n<a@x.test.primary.filter.split.invalid>"
     "\n<\"open@x.test>",
     "<a@x.test.primary.filter.split.invalid> 550 5.7.1\n"},
    {"a client that is not", SENDERS BYPASS, "CLIENT 192.0.3.7\nMAIL <>\n<a@x.test>",
     "+a@x.test.archive.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;a@x.test\n"},
    {"the sender's table fails", "sender_copy_maps = { \"socketmap:unix:/nonexistent/socket:x\" }",
     "MAIL <x@y.test>\n<a@x.test>", "<a@x.test> 451 4.3.0\n"},
    {"behind a filter, ORCPT is the recipient that the client gave", BEHIND,
     "<c@z.test> ORCPT=rfc822;a@x.test",
     "+a@x.test.archive.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;a@x.test\n"
     "+c@z.test.newmail.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;a@x.test\n"},
    {"the same with an extension, in other case", BEHIND, "<C+e@Z.test> ORCPT=rfc822;A+2Be@X.test",
     "+A+e@X.test.archive.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;A+2Be@X.test\n"
     "+C+e@Z.test.newmail.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;A+2Be@X.test\n"},
    {"ORCPT of a client that wants no copies in the archive", BEHIND,
     "<c@z.test> ORCPT=rfc822;b@x.test",
     "+c@z.test.newmail.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;b@x.test\n"},
    {"ORCPT of a client that wants copies of the mail to another", BEHIND,
     "<d@z.test> ORCPT=rfc822;a@x.test", ""},
    {"an ORCPT that is no address", BEHIND, "<c@z.test> ORCPT=x400;a@x.test",
     "+c@z.test.newmail.copy.split.invalid NOTIFY=NEVER ORCPT=x400;a@x.test\n"},
    {"behind a filter that drops ORCPT", BEHIND, "<c@z.test>",
     "+c@z.test.newmail.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;c@z.test\n"},
    {"without orcpt_maps ORCPT does not count", "copy_maps = { \"inline:{ a@x.test=archive }\" }\n",
     "<c@z.test> ORCPT=rfc822;a@x.test", ""},
    {"orcpt_maps fail",
     "orcpt_maps = { \"socketmap:unix:/nonexistent/socket:x\" }\ncopy_maps = { static:archive }\n",
     "<c@z.test> ORCPT=rfc822;a@x.test", "<c@z.test> 451 4.3.0\n"},
    {"100% and 0%",
     "filter_maps = { \"static:secondary 0%, primary\" }\n"
     "copy_maps = { \"static:archive 100%, newmail 0%\" }",
     "<a@x.test>",
     "+a@x.test.primary.filter.split.invalid ORCPT=rfc822;a@x.test\n"
     "+a@x.test.archive.copy.split.invalid NOTIFY=NEVER ORCPT=rfc822;a@x.test\n-<a@x.test>\n"},
};

START_TEST(plans)
{
    struct buf out = {0};

    run(cases[_i].milter, cases[_i].rcpts, &out);
    const char *expected = cases[_i].expected;
    /* A refused message is not changed, so the planned changes are not compared. */
    if (strstr(expected, "reply ") != NULL)
        ck_assert_msg(strstr(buf_str(&out), "reply 550 5.1.3\n") != NULL, "%s: %s", cases[_i].name,
                      buf_str(&out));
    else
        ck_assert_msg(strcmp(buf_str(&out), expected) == 0, "%s: got\n%s", cases[_i].name,
                      buf_str(&out));
    buf_clear(&out);
}
END_TEST

/* For Sendmail all added recipients are in the tag domain. */
START_TEST(rewritten_goes_back)
{
    struct buf out = {0};

    run_as(POLICY_REWRITTEN_BACK,
           "canonical_maps = { \"inline:{ a@x.test=c@z.test, b@x.test=c@[192.0.2.1], "
           "e@x.test=f@x.test, "
           "g@x.test=h@z.test }\" }\nfilter_maps = { \"inline:{ g@x.test=primary }\" }",
           "<a@x.test> NOTIFY=NEVER\n<b@x.test>\n<d@x.test>\n<e@x.test>\n<f@x.test>\n<g@x.test>",
           &out);
    ck_assert_str_eq(buf_str(&out),
                     "<b@x.test> 550 5.1.3\n"
                     "+c@z.test.rewritten.back.split.invalid NOTIFY=NEVER ORCPT=rfc822;a@x.test\n"
                     "+h@z.test.primary.filter.split.invalid ORCPT=rfc822;g@x.test\n"
                     "-<a@x.test>\n-<e@x.test>\n-<g@x.test>\n");
    buf_clear(&out);
}
END_TEST

static const struct {
    const char *milter, *error;
} bad_cases[] = {
    {"filter_maps = { \"static:tertiary\" }", "\"tertiary\" is neither a declared filter"},
    {"filter_maps = { \"static:primary\",\n\"static:tertiary\" }", ":4: static:tertiary: "},
    {"copy_maps = { \"static:archive\" }\nfilter_maps = { "
     "\"static:primary\",\n\n\"texthash:/none\" }",
     ":6: filter_maps: "},
    {"filter_maps = { \"inline:{ a@x.test=primary, b@x.test=smtp:elsewhere:25 }\" }",
     "\"smtp:elsewhere:25\" is neither"},
    {"canonical_maps = { \"inline:{ {a@x.test=anna@example.com, ben@example.com} }\" }",
     "\"anna@example.com, ben@example.com\" is no address"},
    {"canonical_maps = { \"inline:{ {a@x.test=anna@example.com ben@example.com} }\" }",
     "is no address"},
    {"canonical_maps = { \"static:Anna <anna@example.com>\" }", "is no address"},
    {"canonical_maps = { \"static:@y.test:b@z.test\" }", "is no address"},
    {"canonical_maps = { \"static:@y.test@z.test\" }", "is no address"},
    {"canonical_maps = { \"static:b c@z.test\" }", "is no address"},
    {"canonical_maps = { \"static:a@x.test.primary.filter.split.invalid\" }",
     "leads into the tag domain, split.invalid"},
    {"canonical_maps = { \"static:@Split.Invalid\" }", "leads into the tag domain"},
    {"copy_maps = { \"inline:{ a@x.test= }\" }", "it is an empty string"},
    {"filter_maps = { \"static:dovecot:\" }", "add it to unfiltered_nexthops"},
    {"filter_maps = { \"static:smtps:\" }", "\"smtps:\" is neither"},
    {"filter_maps = { \"static:secondary:\" }", "\"secondary:\" is neither"},
    {"filter_maps = { \"static:lmtp:unix:/x\" }", "\"lmtp:unix:/x\" is neither"},
    {"filter_maps = { \"static:errors:\" }", "\"errors:\" is neither"},
    {"unfiltered_nexthops = { dovecot }", "unfiltered_nexthops: 'dovecot' is not allowed"},
    {"filter_maps = { \"static:primary 120%\" }", "is no percentage"},
    {"copy_maps = { \"static:archive, newmial\" }", "\"newmial\" is not a declared destination"},
    {"canonical_maps = { \"static:nodomain\" }",
     "\"nodomain\" is no address: address has no domain"},
    {"canonical_maps = { \"static:a@b..c\" }", "domain is neither"},
    {"filter_maps = { \"texthash:/nonexistent\" }", "/nonexistent"},
};

START_TEST(refused_at_start)
{
    struct err err = {""};
    struct snapshot *s = load(bad_cases[_i].milter, &err);

    ck_assert_msg(s == NULL, "%s was accepted", bad_cases[_i].milter);
    ck_assert_msg(strstr(err.text, bad_cases[_i].error) != NULL, "%s", err.text);
}
END_TEST

/* A result that is made by a substitution is known only at the look-up. */
static const char late[] = "filter_maps = { \"pcre:%s\" }\n%s";

START_TEST(failure_while_running)
{
    char table[] = "/tmp/test_policy_pcre.XXXXXX";
    char milter[512];
    struct buf out = {0};
    int fd = mkstemp(table);

    dprintf(fd, "/^(.*)@x\\.test$/ $1\n");
    close(fd);
    snprintf(milter, sizeof milter, late, table, "");
    run(milter, "<primary@x.test>\n<bogus@x.test>\n<b@y.test>", &out);
    ck_assert_str_eq(buf_str(&out), "<bogus@x.test> 451 4.3.0\n"
                                    "+primary@x.test.primary.filter.split.invalid "
                                    "ORCPT=rfc822;primary@x.test\n-<primary@x.test>\n");
    buf_reset(&out);
    snprintf(milter, sizeof milter, late, table, "on_failure = \"accept\"");
    run(milter, "<primary@x.test>\n<bogus@x.test>", &out);
    ck_assert_str_eq(buf_str(&out), "+primary@x.test.primary.filter.split.invalid "
                                    "ORCPT=rfc822;primary@x.test\n-<primary@x.test>\n");
    unlink(table);
    buf_clear(&out);
}
END_TEST

/* Check whether a decision that failed may be accepted, and that it changes no envelope otherwise.
 */
static void accept_failed(const char *on_failure, bool may)
{
    struct err err;
    char milter[200];
    snprintf(milter, sizeof milter,
             "copy_maps = { \"socketmap:unix:/nonexistent/socket:x\" } on_failure = \"%s\"",
             on_failure);
    struct snapshot *s = load(milter, &err);
    struct table_scratch *scratch = table_scratch_new();
    struct policy_message message = {0};
    struct policy_decision d;
    struct policy_plan plan;

    policy_decide(s->policy, scratch, &message, "<a@b.test>", NULL, NULL, &d);
    ck_assert_int_eq(d.failed, POLICY_FAILED);
    ck_assert_int_eq(policy_may_accept(s->policy, &d), may);
    d.reply.code = 0; /* as if the caller had ignored it */
    ck_assert_int_eq(policy_admit(s->policy, NULL, 0, &d).code, may ? 0 : 451);
    policy_plan(s->policy, &d, 1, POLICY_REWRITTEN_PLAIN, &plan);
    ck_assert_uint_eq(plan.add_count + plan.delete_count, 0);
    policy_plan_clear(&plan);
    policy_decision_clear(&d);
    table_scratch_free(scratch);
    snapshot_unref(s);
}

START_TEST(a_limit_is_a_refusal_whatever_on_failure_says)
{
    char table[] = "/tmp/test_policy_pcre.XXXXXX", milter[512], path[80];
    const char *const choices[] = {"tempfail", "accept"};
    struct buf out = {0};
    int fd = mkstemp(table);

    dprintf(fd, "/^(a+)+@x\\.test$/ primary\n");
    close(fd);
    memset(path, 'a', sizeof path);
    strcpy(path + 60, "!@x.test");
    for (size_t i = 0; i < UNIT_COUNT(choices); i++) {
        snprintf(milter, sizeof milter,
                 "copy_maps = { \"static:archive\" } filter_maps = { "
                 "\"pcre:%s\" } on_failure = %s",
                 table, choices[i]);
        buf_reset(&out);
        run(milter, path, &out);
        ck_assert_msg(strstr(buf_str(&out), "!@x.test 451 4.3.0\n") != NULL, "%s", buf_str(&out));
        ck_assert_ptr_null(strchr(buf_str(&out), '+'));
    }
    unlink(table);
    buf_clear(&out);
}
END_TEST

START_TEST(a_failed_decision_is_accepted_only_with_accept)
{
    accept_failed("accept", true);
}
END_TEST

START_TEST(a_failed_decision_is_never_planned_under_tempfail)
{
    accept_failed("tempfail", false); /* policy_plan() aborts */
}
END_TEST

static const struct {
    const char *path, *mta_says, *completed; /* NULL: it is not */
} completions[] = {
    {"<postmaster>", "postmaster@origin.test", "postmaster@origin.test"},
    {"postmaster", "postmaster@origin.test", "postmaster@origin.test"},
    {"<PostMaster>", "postmaster@origin.test", "PostMaster@origin.test"}, /* Postfix folds it */
    {"<root@>", "root@origin.test", NULL},
    {"<@a.test:root>", "root@origin.test", "root@origin.test"},
    {"<\"a b\">", "\"a b\"@origin.test", "\"a b\"@origin.test"},
    {"<a%b.test>", "a@b.test", "a@b.test"},
    {"<b.test!a>", "a@b.test", "a@b.test"},
    {"<a%b.test>", "a%b.test@origin.test", "a%b.test@origin.test"},
    {"<a%b.test>", "", "a%b.test@first.test"},
    {"<postmaster>", "", "postmaster@first.test"},
    {"<postmaster>", "postmaster", "postmaster@first.test"},
    {"<postmaster>", "other@origin.test", "postmaster@origin.test"},
    {"<postmaster>", "postmaster@[192.0.2.1]", "postmaster@first.test"},
    {"<postmaster>", "550 5.1.1 User unknown", "postmaster@first.test"},
    {"<a@b.test>", "x@y.test", NULL},
    {"<a@[192.0.2.1]>", "x@y.test", NULL},
    {"<>", "x@y.test", NULL},
    {"<@>", "x@y.test", NULL},
    {"<\"a@b.test>", "x@y.test", NULL},
};

START_TEST(what_has_no_domain_is_completed)
{
    const char *const domains[] = {"[192.0.2.1]", "no domain", "first.test", "second.test", NULL};
    char *text = policy_complete(completions[_i].path, completions[_i].mta_says, domains);

    if (completions[_i].completed == NULL)
        ck_assert_ptr_null(text);
    else
        ck_assert_pstr_eq(text, completions[_i].completed);
    free(text);
}
END_TEST

/* If the path has a route in it, the address that the MTA reports is used. */
static const struct {
    const char *path, *mta_says, *rerouted;
} ways[] = {
    {"<sam%b.test@mta.test>", "sam@b.test", "sam@b.test"},
    {"<b.test!sam@mta.test>", "sam@b.test", "sam@b.test"},
    {"<\"sam@b.test\"@mta.test>", "sam@b.test", "sam@b.test"},
    {"<@mta.test:sam%b.test@mta.test>", "sam@b.test", "sam@b.test"},
    {"<sam@b>", "sam@b.test", "sam@b.test"},
    {"<sam%b.test@[192.0.2.1]>", "sam@b.test", "sam@b.test"},
    {"<sam%b.test@mta.test>", "SAM%b.test@mta.test", NULL},
    {"<sam%b.test@mta.test>", "sam", NULL},
    {"<sam%b.test@mta.test>", "", NULL},
    {"<sam@[192.0.2.1]>", "sam@b.test", NULL},
    {"<sam@mta.test>", "other@b.test", NULL}, /* an alias of the MTA is no route */
    {"<sam>", "sam@b.test", NULL},
    {"<>", "sam@b.test", NULL},
};

START_TEST(what_the_mta_reads_counts)
{
    char *text = policy_rerouted(ways[_i].path, ways[_i].mta_says);

    if (ways[_i].rerouted == NULL)
        ck_assert_ptr_null(text);
    else
        ck_assert_pstr_eq(text, ways[_i].rerouted);
    free(text);
}
END_TEST

START_TEST(log_line_and_reasons)
{
    struct err err;
    struct snapshot *s = load("copy_maps = { \"static:archive, newmail\" }\n" ARTICLE, &err);
    struct table_scratch *scratch = table_scratch_new();
    struct policy_message message = {0};
    struct policy_decision d;
    struct buf line = {0};

    policy_decide(s->policy, scratch, &message, "<FirstMailAddress@domain.com>", NULL, NULL, &d);
    policy_log_line(&d, &line);
    ck_assert_str_eq(buf_str(&line), "to=<FirstMailAddress@domain.com>, "
                                     "canonical=<alias123@application.com>, filter=secondary, "
                                     "copy=archive,newmail");
    ck_assert_str_eq(d.filter_reason.key, "firstmailaddress@domain.com");
    ck_assert_str_eq(d.filter_reason.value, "smtp:secondaryfilter.domain.com:25");
    ck_assert_str_eq(d.canonical_reason.value, "alias123@application.com");
    ck_assert_str_eq(d.copy_reason.table, "static:archive, newmail");
    policy_decision_clear(&d);
    table_scratch_free(scratch);
    snapshot_unref(s);
    buf_clear(&line);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("policy");

    tcase_add_loop_test(tests, plans, 0, UNIT_COUNT(cases));
    tcase_add_loop_test(tests, what_the_mta_reads_counts, 0, UNIT_COUNT(ways));
    tcase_add_test(tests, rewritten_goes_back);
    tcase_add_loop_test(tests, refused_at_start, 0, UNIT_COUNT(bad_cases));
    tcase_add_test(tests, failure_while_running);
    tcase_add_loop_test(tests, what_has_no_domain_is_completed, 0, UNIT_COUNT(completions));
    tcase_add_test(tests, a_limit_is_a_refusal_whatever_on_failure_says);
    tcase_add_test(tests, a_failed_decision_is_accepted_only_with_accept);
    tcase_add_test_raise_signal(tests, a_failed_decision_is_never_planned_under_tempfail, SIGABRT);
    tcase_add_test(tests, log_line_and_reasons);
    return unit_run("policy", tests);
}
