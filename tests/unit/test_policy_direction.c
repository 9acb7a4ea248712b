/* SPDX-License-Identifier: ISC */
/* The direction of a message for each recipient, and the copies that are skipped because of it. */
#include "net/endpoint.h"
#include "policy/policy_copies.h"
#include "policy/snapshot.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* "all" takes each direction; each of the others takes one, but "outside" takes two. */
#define DESTINATIONS                                                                               \
    "destination all { relay_to = { \"[127.0.0.1]:2601\" } }\n"                                    \
    "destination in { relay_to = { \"[127.0.0.1]:2602\" } direction = { inbound } }\n"             \
    "destination out { relay_to = { \"[127.0.0.1]:2603\" } direction = { outbound } }\n"           \
    "destination us { relay_to = { \"[127.0.0.1]:2604\" } direction = { \"internal\" }\n"          \
    "    recipient = canonical }\n"                                                                \
    "destination outside { relay_to = { \"[127.0.0.1]:2605\" }\n"                                  \
    "    direction = { \"outbound\", \"inbound\" } }\n"                                            \
    "filter secondary { nexthop = \"smtp:[filter.test]:25\" }\n"                                   \
    "relay { hostname = \"relay.test\" }\n"

static struct snapshot *load(const char *milter, struct err *err)
{
    char path[] = "/tmp/test_direction.XXXXXX";
    int fd = mkstemp(path);

    ck_assert_int_ge(fd, 0);
    dprintf(fd, "milter {\n%s\n}\n%s", milter, DESTINATIONS);
    close(fd);
    struct snapshot *s = snapshot_load(path, "", SNAPSHOT_WITH_TABLES, err);
    unlink(path);
    return s;
}

#define LOCAL                                                                                      \
    "local_networks = { \"192.0.2.0/24\", \"2001:db8::/32\" }\n"                                   \
    "local_domains = { \"Example.com\", \".sub.example.com\", \"b\xc3\xbc"                         \
    "cher.test\" }\n"
#define COPIES LOCAL "copy_maps = { \"static:all, in, out, us, outside\" }\n"
#define NO_DOMAINS                                                                                 \
    "local_networks = { \"192.0.2.1\" }\ncopy_maps = { \"static:all, in, out, us, outside\" }\n"
#define CANONICAL                                                                                  \
    LOCAL "copy_maps = { \"static:us, in\" }\n"                                                    \
          "canonical_maps = { 'inline:{ a@example.com=a@elsewhere.test, "                          \
          "b@elsewhere.test=b@example.com }' }\n"
#define BY_SENDER                                                                                  \
    LOCAL "copy_maps = { \"static:in, all\" }\nsender_copy_maps = { \"static:out, us\" }\n"
#define FILTERED LOCAL "copy_maps = { \"static:in\" }\nfilter_maps = { \"static:secondary\" }\n"

#define INBOUND "copy=all,in,outside, skip=out(direction=inbound),us(direction=inbound)"
#define OUTBOUND "copy=all,out,outside, skip=in(direction=outbound),us(direction=outbound)"
#define INTERNAL                                                                                   \
    "copy=all,us, skip=in(direction=internal),out(direction=internal),outside(direction=internal)"

/* client: "" is not known; a '+' before it: has authenticated. expected: the log line without
 * to=<...>. */
static const struct {
    const char *milter, *client, *rcpt, *completed, *expected;
} cases[] = {
    /* the client */
    {COPIES, "203.0.113.1", "<a@elsewhere.test>", NULL, INBOUND},
    {COPIES, "203.0.113.1", "<a@example.com>", NULL, INBOUND},
    {COPIES, "", "<a@elsewhere.test>", NULL, INBOUND},
    {COPIES, "192.0.2.255", "<a@elsewhere.test>", NULL, OUTBOUND},
    {COPIES, "2001:db8:1::2", "<a@elsewhere.test>", NULL, OUTBOUND},
    {COPIES, "IPv6:2001:db8:1::2", "<a@elsewhere.test>", NULL, OUTBOUND},
    {COPIES, "::ffff:192.0.2.7", "<a@elsewhere.test>", NULL, OUTBOUND},
    {COPIES, "2001:db9::1", "<a@elsewhere.test>", NULL, INBOUND},
    {COPIES, "127.0.0.1", "<a@elsewhere.test>", NULL, INBOUND}, /* local_networks replaces it */
    {COPIES, "+203.0.113.1", "<a@elsewhere.test>", NULL, OUTBOUND},
    {COPIES, "+", "<a@elsewhere.test>", NULL, OUTBOUND},
    /* the recipient's domain */
    {COPIES, "192.0.2.1", "<a@example.com>", NULL, INTERNAL},
    {COPIES, "+203.0.113.1", "<a@EXAMPLE.Com.>", NULL, INTERNAL},
    {COPIES, "192.0.2.1", "<@relay.test:a@example.com>", NULL, INTERNAL},
    {COPIES, "192.0.2.1", "<\"a@elsewhere.test\"@example.com>", NULL, INTERNAL},
    {COPIES, "192.0.2.1", "<a@example.com.elsewhere.test>", NULL, OUTBOUND},
    {COPIES, "192.0.2.1", "<a@notexample.com>", NULL, OUTBOUND},
    {COPIES, "192.0.2.1", "<a@www.example.com>", NULL, OUTBOUND},
    {COPIES, "192.0.2.1", "<a@x.sub.example.com>", NULL, INTERNAL},
    {COPIES, "192.0.2.1", "<a@x.y.sub.example.com>", NULL, INTERNAL},
    {COPIES, "192.0.2.1", "<a@sub.example.com>", NULL, OUTBOUND},
    {COPIES, "192.0.2.1",
     "<a@b\xc3\xbc"
     "cher.test>",
     NULL, INTERNAL},
    {COPIES, "192.0.2.1",
     "<a@B\xc3\x9c"
     "CHER.test>",
     NULL, INTERNAL},
    {COPIES, "192.0.2.1",
     "<a@x.\xc5\xbf"
     "ub.example.com>",
     NULL, INTERNAL}, /* a long s */
    {NO_DOMAINS, "192.0.2.1", "<a@example.com>", NULL, OUTBOUND},
    /* as the MTA reads the recipient */
    {COPIES, "192.0.2.1", "<postmaster>", "postmaster@example.com", INTERNAL},
    {COPIES, "192.0.2.1", "<postmaster>", "postmaster@mx.test", OUTBOUND},
    {COPIES, "192.0.2.1", "<a%elsewhere.test@example.com>", "a@elsewhere.test", OUTBOUND},
    /* the address that the client wrote, not the canonical one */
    {CANONICAL, "192.0.2.1", "<a@example.com>", NULL,
     "canonical=<a@elsewhere.test>, copy=us, skip=in(direction=internal)"},
    {CANONICAL, "192.0.2.1", "<b@elsewhere.test>", NULL,
     "canonical=<b@example.com>, skip=us(direction=outbound),in(direction=outbound)"},
    /* copies by the sender come first */
    {BY_SENDER, "203.0.113.1", "<a@example.com>", NULL,
     "copy=in,all, skip=out(direction=inbound),us(direction=inbound)"},
    {BY_SENDER, "192.0.2.1", "<a@elsewhere.test>", NULL,
     "copy=out,all, skip=us(direction=outbound),in(direction=outbound)"},
    {FILTERED, "192.0.2.1", "<a@example.com>", NULL,
     "filter=secondary, skip=in(direction=internal)"},
    {LOCAL "copy_maps = { \"static:in\" }\n", "192.0.2.1", "<a@example.com>", NULL,
     "skip=in(direction=internal)"},
    {LOCAL "copy_maps = { \"static:in\" }\nbypass_clients = { \"192.0.2.1\" }\n", "192.0.2.1",
     "<a@example.com>", NULL, NULL},
    /* an address that cannot carry a tag is no fault when its only copy is skipped */
    {LOCAL "copy_maps = { \"static:in\" }\n", "192.0.2.1", "<a@[192.0.2.9]>", NULL,
     "skip=in(direction=outbound)"},
};

static void begin(const struct snapshot *s, struct table_scratch *scratch, const char *text,
                  struct policy_message *out)
{
    struct sockaddr_storage address;
    struct policy_client client = {.is_authenticated = text[0] == '+'};

    text += client.is_authenticated;
    if (text[0] != '\0') {
        ck_assert(endpoint_parse_address(text, &address));
        client.address = (const struct sockaddr *)&address;
    }
    policy_begin(s->policy, scratch, "<s@sender.test>", &client, out);
}

/* The number of additions that carry a copy. */
static size_t copies_in(const struct policy_plan *plan)
{
    size_t count = 0;

    for (size_t i = 0; i < plan->add_count; i++)
        count += strstr(plan->adds[i].address, ".copy.split.invalid") != NULL;
    return count;
}

START_TEST(copies_by_direction)
{
    struct err err = {""};
    struct snapshot *s = load(cases[_i].milter, &err);
    struct table_scratch *scratch = table_scratch_new();
    struct policy_message message;
    struct policy_decision d;
    struct policy_plan plan;
    struct buf line = {0};

    ck_assert_msg(s != NULL, "%s", err.text);
    begin(s, scratch, cases[_i].client, &message);
    policy_decide(s->policy, scratch, &message, cases[_i].rcpt, cases[_i].completed, NULL, &d);
    ck_assert_int_eq(d.reply.code, 0);
    policy_log_line(&d, &line);
    if (cases[_i].expected == NULL)
        ck_assert_str_eq(buf_str(&line), "");
    else
        ck_assert_str_eq(strchr(buf_str(&line), ',') + 2, cases[_i].expected);
    policy_plan(s->policy, &d, 1, POLICY_REWRITTEN_PLAIN, &plan);
    ck_assert_uint_eq(copies_in(&plan), d.copy_count);
    policy_plan_clear(&plan);
    policy_decision_clear(&d);
    policy_message_clear(&message);
    table_scratch_free(scratch);
    snapshot_unref(s);
    buf_clear(&line);
}
END_TEST

/* A message has a direction for each recipient. With a header for the filter, a skipped copy is no
 * reason to use tags. */
START_TEST(a_message_with_both_directions)
{
    static const char *const rcpts[] = {"<a@example.com>", "<b@elsewhere.test>"};
    struct err err = {""};
    struct snapshot *s = load(LOCAL "copy_maps = { \"static:us\" }\nfilter_method = header\n"
                                    "filter_maps = { \"static:secondary\" }\n",
                              &err);
    struct table_scratch *scratch = table_scratch_new();
    struct policy_message message;
    struct policy_decision d[2];
    struct policy_plan plan;

    ck_assert_msg(s != NULL, "%s", err.text);
    begin(s, scratch, "192.0.2.1", &message);
    for (int i = 0; i < 2; i++)
        policy_decide(s->policy, scratch, &message, rcpts[i], NULL, NULL, &d[i]);
    ck_assert_int_eq(d[0].direction, CONFIG_INTERNAL);
    ck_assert_int_eq(d[1].direction, CONFIG_OUTBOUND);
    policy_plan(s->policy, d, 2, POLICY_REWRITTEN_PLAIN, &plan);
    ck_assert_uint_eq(plan.add_count, 3);
    ck_assert_str_eq(plan.adds[1].address, "a@example.com.us.copy.split.invalid");
    policy_plan_clear(&plan);
    policy_plan(s->policy, d + 1, 1, POLICY_REWRITTEN_PLAIN, &plan);
    ck_assert_uint_eq(plan.add_count, 0);
    ck_assert_str_eq(plan.header_value, "smtp:[filter.test]:25");
    policy_plan_clear(&plan);
    for (int i = 0; i < 2; i++)
        policy_decision_clear(&d[i]);
    policy_message_clear(&message);
    table_scratch_free(scratch);
    snapshot_unref(s);
}
END_TEST

/* A decision that fails skips nothing. */
START_TEST(a_failed_decision_has_no_skips)
{
    struct err err = {""};
    struct snapshot *s =
        load(LOCAL "sender_copy_maps = { \"static:in\" }\non_failure = accept\n"
                   "copy_maps = { \"socketmap:unix:/tmp/test_direction.nobody:x\" }\n",
             &err);
    struct table_scratch *scratch = table_scratch_new();
    struct policy_message message;
    struct policy_decision d;
    struct buf line = {0};

    ck_assert_msg(s != NULL, "%s", err.text);
    begin(s, scratch, "192.0.2.1", &message);
    policy_decide(s->policy, scratch, &message, "<a@example.com>", NULL, NULL, &d);
    ck_assert_int_eq(d.failed, POLICY_FAILED);
    policy_log_line(&d, &line);
    ck_assert_str_eq(buf_str(&line), "");
    policy_decision_clear(&d);
    policy_message_clear(&message);
    table_scratch_free(scratch);
    snapshot_unref(s);
    buf_clear(&line);
}
END_TEST

/* A listener's tables must not name a destination that has a direction: neither a value that can be
 * seen at the start, nor one that only a look-up shows. */
START_TEST(a_listener_knows_no_direction)
{
    static char seen[] = "inline:{ a@b.test=all, b.test=in }";
    char path[] = "/tmp/test_direction.XXXXXX", *items[] = {seen};
    struct text_place places[] = {{"here", 7}};
    struct string_list maps = {.items = items, .count = 1, .places = places};
    struct err err = {""};
    struct snapshot *s = load("", &err);
    struct table_scratch *scratch = table_scratch_new();
    struct policy_copies_decision d;

    ck_assert_msg(s != NULL, "%s", err.text);
    ck_assert_ptr_null(policy_copies_open(s->config, &maps, &err));
    ck_assert_ptr_nonnull(
        strstr(err.text, ":1: inline:{ a@b.test=all, b.test=in }: result of \"b.test\": "
                         "\"in\" has a direction, which a listener does not know; allowed: a "
                         "destination without direction, which may have the same relay_to"));
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    dprintf(fd, "/^(.*)@b/ $1\n");
    close(fd);
    char hidden[64];
    snprintf(hidden, sizeof hidden, "regexp:%s", path);
    items[0] = hidden;
    struct policy_copies *p = policy_copies_open(s->config, &maps, &err);
    unlink(path);
    ck_assert_msg(p != NULL, "%s", err.text);
    policy_copies_decide(p, scratch, "<in@b.test>", &d);
    ck_assert_int_eq(d.failed, POLICY_FAILED);
    ck_assert_ptr_nonnull(strstr(d.failure.text, "\"in\" has a direction"));
    policy_copies_decision_clear(&d);
    policy_copies_decide(p, scratch, "<all@b.test>", &d);
    ck_assert_int_eq(d.failed, POLICY_OK);
    ck_assert_uint_eq(d.copy_count, 1);
    policy_copies_decision_clear(&d);
    policy_copies_close(p);
    table_scratch_free(scratch);
    snapshot_unref(s);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("policy_direction");

    tcase_add_loop_test(tests, copies_by_direction, 0, UNIT_COUNT(cases));
    tcase_add_test(tests, a_message_with_both_directions);
    tcase_add_test(tests, a_failed_decision_has_no_skips);
    tcase_add_test(tests, a_listener_knows_no_direction);
    return unit_run("policy_direction", tests);
}
