/* SPDX-License-Identifier: ISC */
#include "base/buf.h"
#include "config/config_file.h"
#include "config/config_option.h"
#include "config/config_units.h"
#include "base/mem.h"
#include "unit.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/test_config.XXXXXX";

static void write_file(const char *name, const char *text, size_t len)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(text, 1, len, f), len);
    ck_assert_int_eq(fclose(f), 0);
}

static struct config *load_bytes(const char *text, size_t len, struct err *err)
{
    char path[128];

    write_file("c", text, len);
    snprintf(path, sizeof path, "%s/c", dir);
    return config_file_load(path, err);
}

static struct config *load(const char *text, struct err *err)
{
    return load_bytes(text, strlen(text), err);
}

static struct config *load_valid(const char *text)
{
    struct err err = {{0}};
    struct config *c = load(text, &err);

    if (c == NULL)
        ck_abort_msg("%s", err.text);
    return c;
}

static const char full[] =
    "# a comment\n"
    "tag_domain = \"Split.Invalid\" # another\n"
    "recipient_delimiter = '+'\n"
    "log { target = stderr  level = \"debug\" style = postfix }\n"
    "/* over\n   lines */\n"
    "milter {\n"
    "    socket = inet:8890@127.0.0.1\n"
    "    socket_mode = 600\n"
    "    socket_group = postfix\n"
    "    canonical_maps = { texthash:/c, // the first\n"
    "                       'inline:{ a@b=c@d, { x@y = z } }' }\n"
    "    filter_maps = \"static:primary\"\n"
    "    copy_maps += { \"pcre:/p\" }\n"
    "    filter_method = header mixed_filters = defer\n"
    "    filter_header = X-Other on_failure = accept\n"
    "}\n"
    "filter secondary { nexthop = \"smtp:[secondaryfilter.domain.com]:25\" }\n"
    "filter \"primary\" { nexthop = smtp:[primaryfilter.domain.com]:10024 }\n"
    "relay {\n"
    "    listen = { \"inet:10030@[::1]\", unix:/run/relay }\n"
    "    hostname = relay.example.com\n"
    "    spool_directory = /spool\n"
    "    trusted_networks = {}\n"
    "    queue = sqlite history = 12h\n"
    "    message_size_limit = 64k max_connections = 3 min_free_space = 0\n"
    "}\n"
    "destination archive {\n"
    "    relay_to = { \"[archive.example.com]:2525\", backup }\n"
    "    protocol = lmtp concurrency = 5\n"
    "    recipient = all@archive.example.com sender = null\n"
    "    retry_min = 30 retry_max = 2h max_age = 1d\n"
    "    connect_timeout = 10s command_timeout = 1m\n"
    "}\n"
    "destination newmail { recipient = canonical relay_to = \"new\" }\n";

START_TEST(all_options_are_read)
{
    struct config *c = load_valid(full);

    ck_assert_str_eq(c->tag_domain, "split.invalid");
    ck_assert_str_eq(c->recipient_delimiter, "+");
    ck_assert_str_eq(c->log.target, "stderr");
    ck_assert_str_eq(c->log.facility, "mail");
    ck_assert_str_eq(c->log.level, "debug");
    ck_assert_str_eq(c->log.style, "postfix");
    ck_assert_uint_eq(c->milter.socket.port, 8890);
    ck_assert_str_eq(c->milter.socket_text, "inet:8890@127.0.0.1");
    ck_assert_uint_eq(c->milter.socket_mode, 0600);
    ck_assert_str_eq(c->milter.socket_group, "postfix");
    ck_assert_str_eq(c->milter.pid_file, "");
    ck_assert_uint_eq(c->milter.canonical_maps.count, 2);
    ck_assert_str_eq(c->milter.canonical_maps.items[0], "texthash:/c");
    ck_assert_str_eq(c->milter.canonical_maps.items[1], "inline:{ a@b=c@d, { x@y = z } }");
    ck_assert_uint_eq(c->milter.filter_maps.count, 1);
    ck_assert_str_eq(c->milter.filter_maps.items[0], "static:primary");
    ck_assert_str_eq(c->milter.copy_maps.items[0], "pcre:/p");
    ck_assert_int_eq(c->milter.filter_method, CONFIG_METHOD_HEADER);
    ck_assert_int_eq(c->milter.mixed_filters, CONFIG_MIXED_DEFER);
    ck_assert_str_eq(c->milter.filter_header, "X-Other");
    ck_assert_int_eq(c->milter.on_failure, CONFIG_FAIL_ACCEPT);
    ck_assert_uint_eq(c->filter_count, 2);
    ck_assert_str_eq(c->filters[0].name, "secondary");
    ck_assert_str_eq(c->filters[1].nexthop, "smtp:[primaryfilter.domain.com]:10024");
    ck_assert_uint_eq(c->filters[1].place.line, 19);
    ck_assert_uint_eq(c->relay.listen_count, 2);
    ck_assert_str_eq(c->relay.listen[0].host, "::1");
    ck_assert_str_eq(c->relay.listen[1].path, "/run/relay");
    ck_assert_str_eq(c->relay.hostname, "relay.example.com");
    ck_assert_str_eq(c->relay.spool_directory, "/spool");
    ck_assert_str_eq(c->relay.queue, "sqlite");
    ck_assert_uint_eq(c->relay.history_s, 43200);
    ck_assert_uint_eq(c->relay.trusted_network_count, 0);
    ck_assert_uint_eq(c->relay.message_size_limit_bytes, 65536);
    ck_assert_uint_eq(c->relay.max_connections, 3);
    ck_assert_uint_eq(c->relay.min_free_space_bytes, 0);
    config_free(c);
}
END_TEST

START_TEST(destinations_are_read)
{
    struct config *c = load_valid(full);
    const struct config_destination *d = config_find_destination(c, "ARCHIVE");

    ck_assert_uint_eq(c->destination_count, 2);
    ck_assert_ptr_eq(d, &c->destinations[0]);
    ck_assert_uint_eq(d->relay_to_count, 2);
    ck_assert_str_eq(d->relay_to[1].host, "backup");
    ck_assert_int_eq(d->protocol, CONFIG_LMTP);
    ck_assert_uint_eq(d->concurrency, 5);
    ck_assert_int_eq(d->recipient, CONFIG_ADDRESS_FIXED);
    ck_assert_str_eq(d->recipient_address, "all@archive.example.com");
    ck_assert_int_eq(d->sender, CONFIG_ADDRESS_NULL);
    ck_assert_uint_eq(d->retry_min_s, 30);
    ck_assert_uint_eq(d->retry_max_s, 7200);
    ck_assert_uint_eq(d->max_age_s, 86400);
    ck_assert_uint_eq(d->connect_timeout_ms, 10000);
    ck_assert_uint_eq(d->command_timeout_ms, 60000);
    ck_assert_uint_eq(d->place.line, 28);
    ck_assert_int_eq(c->destinations[1].recipient, CONFIG_ADDRESS_CANONICAL);
    ck_assert_ptr_null(config_find_destination(c, "none"));
    config_free(c);
}
END_TEST

START_TEST(conditions_are_read)
{
    struct config *c = load_valid(
        "destination a { relay_to = a unless_header = { \"X-Spam-Flag:  YES\", \"b:*\" }\n"
        "max_size = 10M }\ndestination b { relay_to = b }");
    const struct config_destination *d = &c->destinations[0];

    ck_assert_uint_eq(d->unless_header.count, 2);
    ck_assert_str_eq(d->unless_header.items[0], "X-Spam-Flag: YES");
    ck_assert_str_eq(d->unless_header.items[1], "b: *");
    ck_assert_uint_eq(d->max_size_bytes, 10u << 20);
    ck_assert_uint_eq(d[1].unless_header.count, 0);
    ck_assert_uint_eq(d[1].max_size_bytes, 0);
    config_free(c);
}
END_TEST

START_TEST(there_are_up_to_32_conditions)
{
    struct buf text = {0};
    struct err err;

    buf_adds(&text, "destination a { relay_to = a\n unless_header = { \"a: b\"");
    for (int i = 1; i < 32; i++)
        buf_adds(&text, ",\n\"a: b\"");
    size_t len = text.len;
    buf_adds(&text, " } }");
    config_free(load_valid(buf_str(&text)));
    buf_truncate(&text, len);
    buf_adds(&text, ",\n\"a: b\" } }");
    ck_assert_ptr_null(load(buf_str(&text), &err));
    ck_assert_msg(strstr(err.text, ":34: unless_header: too many values; allowed: 32") != NULL,
                  "%s", err.text);
    buf_clear(&text);
}
END_TEST

START_TEST(defaults_are_those_of_the_manual)
{
    struct config *c = load_valid("destination a { relay_to = a }");
    char name[256];

    ck_assert_int_eq(gethostname(name, sizeof name), 0);
    ck_assert_str_eq(c->tag_domain, "split.invalid");
    ck_assert_str_eq(c->milter.socket_text, "unix:/run/splitmilter/milter.sock");
    ck_assert_str_eq(c->milter.pid_file, "/run/splitmilter/milter.sock.pid");
    ck_assert_uint_eq(c->milter.socket_mode, 0660);
    ck_assert_uint_eq(c->milter.canonical_classes.count, 1);
    ck_assert_int_eq(c->milter.filter_method, CONFIG_METHOD_TAG);
    ck_assert_int_eq(c->milter.on_failure, CONFIG_FAIL_TEMPFAIL);
    ck_assert_uint_eq(c->relay.listen_count, 1);
    ck_assert_str_eq(c->relay.hostname, name);
    ck_assert_str_eq(c->relay.queue, "sqlite");
    ck_assert(c->relay.queue_replicated);
    ck_assert_str_eq(c->relay.node, "");
    ck_assert_uint_eq(c->relay.history_s, 7 * 86400);
    ck_assert_uint_eq(c->relay.trusted_network_count, 2);
    ck_assert_uint_eq(c->relay.message_size_limit_bytes, 50u << 20);
    ck_assert_uint_eq(c->relay.min_free_space_bytes, 256u << 20);
    ck_assert_uint_eq(c->destinations[0].relay_to[0].port, 25);
    ck_assert_int_eq(c->destinations[0].recipient, CONFIG_ADDRESS_ORIGINAL);
    ck_assert_str_eq(c->destinations[0].recipient_address, "");
    ck_assert_uint_eq(c->destinations[0].retry_min_s, 60);
    ck_assert_uint_eq(c->destinations[0].max_age_s, 432000);
    ck_assert_uint_eq(c->destinations[0].command_timeout_ms, 300000);
    config_free(c);
}
END_TEST

START_TEST(templates_are_told_from_fixed_addresses)
{
    struct config *c =
        load_valid("destination a { relay_to = b recipient = '%u-%d@c.test' sender = '%a' }\n"
                   "destination b { relay_to = b recipient = 'a%%b@c.test' }\n"
                   "destination c { relay_to = 'maildir:/srv/%d/{%Y-%m}' }\n");

    ck_assert_int_eq(c->destinations[0].recipient, CONFIG_ADDRESS_TEMPLATE);
    ck_assert_str_eq(c->destinations[0].recipient_address, "%u-%d@c.test");
    ck_assert_int_eq(c->destinations[0].sender, CONFIG_ADDRESS_TEMPLATE);
    ck_assert_str_eq(c->destinations[0].sender_address, "%a");
    ck_assert_int_eq(c->destinations[1].recipient, CONFIG_ADDRESS_FIXED);
    ck_assert_str_eq(c->destinations[1].recipient_address, "a%b@c.test");
    ck_assert_str_eq(c->destinations[2].relay_to[0].path, "/srv/%d/{%Y-%m}");
    config_free(c);
}
END_TEST

START_TEST(an_empty_file_is_a_configuration)
{
    struct config *c = load_valid("");

    ck_assert_uint_eq(c->filter_count + c->destination_count, 0);
    config_free(c);
}
END_TEST

START_TEST(milters_with_names)
{
    struct config *c =
        load_valid("milter after { copy_maps = { static:a } on_failure = accept }\n"
                   "milter { filter_maps = { static:f } socket_mode = 600 }\n"
                   "milter other { socket = 'inet:8890' }\n"
                   "destination a { relay_to = h }\nfilter f { nexthop = 'smtp:h' }\n");
    struct err err;

    ck_assert_uint_eq(c->other_milter_count, 2);
    ck_assert_str_eq(c->milter.name, "");
    ck_assert_str_eq(c->milter.label, "milter");
    ck_assert_uint_eq(c->milter.filter_maps.count, 1);
    ck_assert_uint_eq(c->milter.place.line, 2);
    struct config view = config_of_milter(c, 1);
    ck_assert_str_eq(view.milter.label, "milter after");
    ck_assert_str_eq(view.milter.socket_text, "unix:/run/splitmilter/milter-after.sock");
    ck_assert_str_eq(view.milter.socket.path, "/run/splitmilter/milter-after.sock");
    ck_assert_str_eq(view.milter.pid_file, "/run/splitmilter/milter-after.sock.pid");
    ck_assert_uint_eq(view.milter.place.line, 1);
    ck_assert_uint_eq(view.milter.filter_maps.count, 0);
    ck_assert_uint_eq(config_milter_table_count(&view.milter), 1);
    ck_assert_int_eq(view.milter.on_failure, CONFIG_FAIL_ACCEPT);
    ck_assert_uint_eq(view.milter.socket_mode, 0660);
    ck_assert_uint_eq(config_table_place(&view, "static:a").line, 1);

    ck_assert_int_eq(config_use_milter(c, "other", &err), 0);
    ck_assert_str_eq(c->milter.socket.host, "127.0.0.1");
    ck_assert_str_eq(c->milter.pid_file, "");
    ck_assert_int_eq(config_use_milter(c, "", &err), 0);
    ck_assert_uint_eq(c->milter.filter_maps.count, 1);
    ck_assert_int_eq(config_use_milter(c, "none", &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, "there is no section \"milter none\""));
    config_free(c);
}
END_TEST

static const struct {
    const char *socket;
    const char *text;
} libmilter_texts[] = {
    {"unix:/a", "unix:/a"},
    {"local:/a", "unix:/a"},
    {"inet:25", "inet:25"},
    {"inet:25@host", "inet:25@host"},
    {"inet6:25", "inet6:25"},
    {"inet6:25@host", "inet6:25@host"},
    {"inet:25@[::1]", "inet6:25@[::1]"},
    {"inet6:25@::1", "inet6:25@[::1]"},
};

START_TEST(sockets_are_written_as_libmilter_reads_them)
{
    char text[128];

    snprintf(text, sizeof text, "milter { socket = '%s' trusted_mtas = { 192.0.2.1 } }",
             libmilter_texts[_i].socket);
    struct config *c = load_valid(text);
    ck_assert_str_eq(c->milter.socket_text, libmilter_texts[_i].text);
    config_free(c);
}
END_TEST

START_TEST(a_milter_socket_is_local_unless_it_knows_its_mtas)
{
    static const struct {
        const char *socket, *host;
    } local[] = {
        {"inet:8890", "127.0.0.1"},           {"inet6:8890", "::1"},
        {"inet:8890@localhost", "localhost"}, {"inet:8890@127.1.2.3", "127.1.2.3"},
        {"inet6:8890@[::1]", "::1"},          {"unix:/run/m.sock", ""},
    };

    for (size_t i = 0; i < UNIT_COUNT(local); i++) {
        char text[100];
        snprintf(text, sizeof text, "milter { socket = \"%s\" }\n", local[i].socket);
        struct config *c = load_valid(text);
        ck_assert_str_eq(c->milter.socket.host, local[i].host);
        ck_assert_uint_eq(c->milter.trusted_mta_count, 0);
        config_free(c);
    }
    struct config *c = load_valid("milter { socket = 'inet:8890@192.0.2.1' trusted_mtas = { "
                                  "192.0.2.0/28, '2001:db8::1' } }\n");
    ck_assert_str_eq(c->milter.socket.host, "192.0.2.1");
    ck_assert_uint_eq(c->milter.trusted_mta_count, 2);
    config_free(c);
}
END_TEST

START_TEST(the_environment_is_substituted_in_double_quotes)
{
    setenv("SPLIT_TEST_HOST", "h", 1);
    unsetenv("SPLIT_TEST_NONE");
    struct config *c = load_valid("destination a { relay_to = \"${SPLIT_TEST_HOST}:26\" }\n"
                                  "destination b { relay_to = ${SPLIT_TEST_NONE:-other} }\n"
                                  "milter { copy_maps = { 'static:${x}' } }\n");

    ck_assert_str_eq(c->destinations[0].relay_to[0].host, "h");
    ck_assert_str_eq(c->destinations[1].relay_to[0].host, "other");
    ck_assert_str_eq(c->milter.copy_maps.items[0], "static:${x}");
    config_free(c);
}
END_TEST

START_TEST(a_second_section_adds_and_the_last_value_counts)
{
    struct config *c = load_valid("milter { filter_maps = { static:a } on_failure = accept }\n"
                                  "milter { filter_maps += { static:b } socket_mode = 600 }\n"
                                  "milter { socket_mode = 640 }\n"
                                  "relay { trusted_networks += { 10.0.0.0/8 } }\n");

    ck_assert_uint_eq(c->milter.filter_maps.count, 2);
    ck_assert_int_eq(c->milter.on_failure, CONFIG_FAIL_ACCEPT);
    ck_assert_uint_eq(c->milter.socket_mode, 0640);
    ck_assert_uint_eq(c->relay.trusted_network_count, 1);
    config_free(c);
}
END_TEST

/* The message must begin with "FILE:LINE: " and hold both texts. */
static const struct {
    const char *config;
    unsigned line;
    const char *wrong;
    const char *allowed;
} mistakes[] = {
    {"\n\nbogus = 1\n", 3, "unknown key 'bogus'", "relay, destination, listener, include"},
    {"# c\n# c\nmilter {\n  sockets = 1\n}", 4, "unknown key 'sockets' in section milter",
     "socket, socket_mode"},
    {"destination a {\n relay_to = a\n shine = yes }", 3,
     "unknown key 'shine' in section destination", "known keys: relay_to, protocol"},
    {"destination a {\n relay_to = a\n tls = yes }", 3, "tls: 'yes'",
     "\"none\", \"may\", \"encrypt\", \"verify\", \"auto\""},
    {"destination a { relay_to = a\n tls_wrap = yes }", 2, "tls_wrap: needs tls = \"encrypt\"",
     "\"verify\""},
    {"destination a { relay_to = a\n tls_key_file = /k }", 2, "tls_key_file: needs",
     "tls_cert_file"},
    {"destination a { relay_to = a tls = verify\n tls_fingerprint = { \"AB:CD\" } }", 2,
     "tls_fingerprint: 'AB:CD' is not allowed", "32 pairs"},
    {"destination a { relay_to = a\n tls_fingerprint = { "
     "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef } }",
     2, "tls_fingerprint: needs", "tls = \"verify\""},
    {"destination a { relay_to = a\n tls_name = { \"a b\" } }", 2, "tls_name: 'a b'",
     "a host name"},
    {"destination a { relay_to = a\n auth_user = u }", 2, "auth_user: needs", "auth_password_file"},
    {"destination a { relay_to = a\n auth_password_file = /p }", 2, "auth_password_file: needs",
     "auth_user"},
    {"destination a { relay_to = a\n auth_token_file = /t }", 2, "auth_token_file: needs",
     "auth_user"},
    {"destination a { relay_to = a auth_user = u auth_password_file = /p\n auth_token_file = /t }",
     2, "auth_token_file: not together with", "auth_password_file"},
    {"destination a { relay_to = a auth_user = u auth_token_file = /t\n auth_mechanisms = { PLAIN "
     "} "
     "}",
     2, "auth_mechanisms: with auth_token_file it needs", "OAUTHBEARER or XOAUTH2"},
    {"destination a { relay_to = a auth_user = u auth_password_file = /p\n auth_mechanisms = { "
     "XOAUTH2 } }",
     2, "auth_mechanisms: OAUTHBEARER and XOAUTH2 need", "auth_token_file"},
    {"destination a { relay_to = a tls = none auth_token_file = /t\n auth_user = u }", 2,
     "auth_user: with tls = \"none\"", "auth_plaintext = \"yes\""},
    {"listener a { listen = inet:1@127.0.0.1 primary = a\n primary_auth_token_file = /t }", 2,
     "primary_auth_token_file: needs", "auth_user"},
    {"destination a { relay_to = a tls = none auth_password_file = /p\n auth_user = u }", 2,
     "auth_user: with tls = \"none\"", "auth_plaintext = \"yes\""},
    {"destination a { relay_to = a auth_password_file = /p\n auth_user = \"a\\x01\" }", 2,
     "auth_user: 'a", "printable"},
    {"destination a { relay_to = a\n auth_mechanisms = { CRAM-MD5 } }", 2,
     "auth_mechanisms: 'CRAM-MD5'",
     "\"SCRAM-SHA-256\", \"PLAIN\", \"LOGIN\", \"OAUTHBEARER\", \"XOAUTH2\""},
    {"listener a { listen = { \"inet:25@h\" } primary = { h }\n primary_tls_wrap = yes }", 2,
     "listener a: primary_tls_wrap: needs", "\"encrypt\""},
    {"listener a { listen = { \"inet:25@h\" } primary = { h }\n tls = encrypt }", 2,
     "listener: tls: needs", "tls_cert_file"},
    {"relay {\n tls = encrypt }", 2, "relay: tls: needs", "tls_cert_file"},
    {"relay {\n tls = verify }", 2, "tls: 'verify'", "\"none\", \"may\", \"encrypt\""},
    {"relay { tls_cert_file = /c\n tls_client = ask }", 2, "tls_client: needs",
     "tls_client_ca_file"},
    {"relay { tls_client_ca_file = /c\n tls_client = require }", 2, "tls_client: needs TLS",
     "tls_cert_file"},
    {"listeners x { }", 1, "unknown key 'listeners'", "relay"},
    {"\nlistener a {\n}\n", 2, "listener a: listen is missing", "at least one"},
    {"\nlistener a { listen = { \"inet:25@h\" }\n}\n", 2, "listener a: primary is missing",
     "at least one"},
    {"listener a { listen = { \"inet:25@h\" } primary = { h }\n copies = { x } }", 2,
     "listener a: copies: 'x' is not a declared", "destination"},
    {"listener a { listen = { \"inet:25@h\" } primary = { h }\n copies = { \"a b\" } }", 2,
     "copies: 'a b' is not allowed", "the name of a destination"},
    {"listener a { listen = { \"inet:25@h\" }\n primary = { \"unix:/x\" } }", 2,
     "listener a: primary: a unix socket", "protocol = \"lmtp\""},
    {"listener a { listen = { \"inet:25@h\" } primary = { h }\n require_copies = maybe }", 2,
     "require_copies: 'maybe'", "\"no\", \"yes\""},
    {"log {\n\n level = loud\n}", 3, "level: 'loud'",
     "\"error\", \"warning\", \"info\", \"debug\""},
    {"log {\n style = syslog\n}", 2, "style: 'syslog'", "\"splitmilter\", \"postfix\", \"json\""},
    {"milter {\n on_failure = ignore }", 2, "on_failure: 'ignore'", "\"tempfail\", \"accept\""},
    {"milter {\n canonical_classes = { envelope_recipient,\n header_sender } }", 3,
     "canonical_classes: 'header_sender'", "allowed: \"envelope_recipient\""},
    {"relay {\n max_connections = 0 }", 2, "max_connections: '0'", "a number from 1 to 100000"},
    {"relay { max_connections = 4294967297 }", 1, "'4294967297'", "a number from 1 to 100000"},
    {"relay { max_connections = -1 }", 1, "'-1'", "a number from 1 to 100000"},
    {"relay { max_connections = 5x }", 1, "'5x'", "a number from 1 to 100000"},
    {"relay { message_size_limit = 5X }", 1, "'5X'", "\"64k\", \"50M\", \"2G\""},
    {"relay { message_size_limit = 0 }", 1, "'0'", "from 1k to 1024G"},
    {"milter { socket_mode = 0999 }", 1, "'0999'", "octal"},
    {"milter { socket_mode = 1777 }", 1, "'1777'", "\"0777\""},
    {"milter { socket = 'tcp:25' }", 1, "'tcp:25'", "inet:PORT@HOST"},
    {"milter {\n socket = 'inet:8890@192.0.2.1' }", 2, "can be reached from other machines",
     "trusted_mtas"},
    {"milter { socket = 'inet:8890@mx.test' }", 1, "can be reached from other machines",
     "trusted_mtas"},
    {"milter { socket = 'inet6:8890@::' }", 1, "can be reached from other machines",
     "trusted_mtas"},
    {"milter {\n trusted_mtas = { mx.test } }", 2, "'mx.test' is no network", "192.0.2.0/24"},
    {"milter { pid_file = x }", 1, "pid_file: 'x'", "'/'"},
    {"milter { filter_header = 'X Y' }", 1, "'X Y'", "header"},
    {"milter { filter_maps = { 'primary' } }", 1, "'primary' is no table", "texthash:/path"},
    {"relay { spool_directory = '' }", 1, "spool_directory", "'/'"},
    {"relay {\n queue = 'mysql://u:secret@db1/x' }", 2, "queue: not allowed",
     "allowed: \"sqlite\", \"postgresql://"},
    {"relay { queue = '' }", 1, "queue: not allowed", "allowed: \"sqlite\""},
    {"relay { queue = 'postgresql://u:sec@ret@db1/x' }", 1, "queue: the URI is not valid", "%40"},
    {"relay { queue_replicated = true }", 1, "queue_replicated: 'true'", "\"yes\""},
    {"relay { node = 'a b' }", 1, "'a b'", "host name"},
#ifndef HAVE_LIBPQ
    {"relay {\n queue = 'postgresql://db1/x' }", 2, "queue: built without PostgreSQL",
     "allowed: \"sqlite\""},
#endif
    {"relay { history = 7w }", 1, "history: '7w'", "from 0s to 366d"},
    {"relay { history = 367d }", 1, "history: '367d'", "from 0s to 366d"},
    {"relay { hostname = 'a b' }", 1, "'a b'", "host name"},
    {"relay { trusted_networks = { 127.0.0.0/8,\n\n 10.1.0.0/8 } }", 3, "10.1.0.0/8", "8 bits"},
    {"relay {\n listen = {}\n}", 2, "listen is missing", "at least one"},
    {"tag_domain = 'a..b'", 1, "'a..b'", "domain name"},
    {"tag_domain = ''", 1, "''", "domain name"},
    {"recipient_delimiter = '@'", 1, "'@'", "punctuation"},
    {"recipient_delimiter = 'x'", 1, "'x'", "punctuation"},
    {"destination a {\n relay_to = a\n\n max_age = 5w }", 4, "max_age: '5w'", "5d"},
    {"destination a { relay_to = a max_age = 99999999999d }", 1, "max_age", "366d"},
    {"destination a { relay_to = a rate_limit = 10 }", 1, "rate_limit: '10'", "100/1m"},
    {"destination a { relay_to = a rate_limit = 0/1s }", 1, "rate_limit: '0/1s'", "from 1 to"},
    {"destination a { relay_to = a rate_limit = \"1/2d\" }", 1, "rate_limit: '1/2d'", "1s to 1d"},
    {"relay { dns_servers = { ns.example.com } }", 1, "'ns.example.com' is no name server",
     "192.0.2.1"},
    {"relay { dns_servers = { \"192.0.2.1:0\" } }", 1, "'192.0.2.1:0' is no name server",
     "192.0.2.1"},
    {"destination a { relay_to = a\n direction = { inbound,\n outwards } }", 3,
     "direction: 'outwards' is not allowed", "\"inbound\", \"outbound\", \"internal\""},
    {"destination a { relay_to = a\n direction = {} }", 2, "direction is missing", "at least one"},
    {"listener a { listen = { \"inet:25@h\" } primary = { h }\n copies = { b,\n a } }\n"
     "destination b { relay_to = b direction = { internal, outbound, inbound } }\n"
     "destination a { relay_to = a direction = { inbound } }",
     3, "listener a: copies: \"a\" has a direction", "a destination without direction"},
    {"milter {\n local_networks = { 192.0.2.0/33 } }", 2, "local_networks: '192.0.2.0/33'", "32"},
    {"milter {\n local_domains = { a.test,\n user@b.test } }", 3,
     "local_domains: 'user@b.test' is not allowed", "\".domain\" for all below it"},
    {"milter { local_domains = { \"\" } }", 1, "local_domains: ''", "a domain"},
    {"milter { local_domains = { . } }", 1, "local_domains: '.'", "a domain"},
    {"milter { local_domains = { \"..a.test\" } }", 1, "local_domains: '..a.test'", "a domain"},
    {"milter { local_domains = { \"[192.0.2.1]\" } }", 1, "local_domains: '[192.0.2.1]'",
     "a domain"},
    {"milter { local_domains = { \"a.test>,<x\" } }", 1, "local_domains: 'a.test>,<x'", "a domain"},
    {"destination a { relay_to = a connect_timeout = 0 }", 1, "connect_timeout: '0'", "from 1s"},
    {"destination a { relay_to = a\n retry_min = 2h }", 2, "retry_min", "up to retry_max"},
    {"destination a { relay_to = a\n\n retry_max = 5s }", 3, "retry_max", "up to retry_max"},
    {"destination a { relay_to = a recipient = null }", 1, "'null'", "\"original\", \"canonical\""},
    {"destination a { relay_to = a sender = canonical }", 1, "'canonical'",
     "\"null\", or an address"},
    {"destination a { relay_to = a sender = '@b' }", 1, "'@b'", "or an address"},
    {"destination a { relay_to = { b,\n 'c d' } }", 2, "relay_to: 'c d'", "[host]:port"},
    {"destination a { relay_to = { b,\n unix:/x } }", 2, "unix socket", "lmtp"},
    {"destination a { relay_to = { \"[b]\",\n \"maildir:/x\" } }", 2,
     "a Maildir must be the only one", ""},
    {"destination a { relay_to = maildir:/x\n xclient = yes }", 2, "xclient: a Maildir has no", ""},
    {"destination a { relay_to = maildir:/x\n xforward = yes }", 2, "xforward: a Maildir has", ""},
    {"destination a { relay_to = maildir:/x\n protocol = lmtp }", 2, "protocol: a Maildir", ""},
    {"destination a { relay_to = maildir:/x\n tls = verify }", 2, "tls: a Maildir has no", ""},
    {"destination a { relay_to = maildir:/x auth_password_file = /p\n auth_user = u }", 2,
     "auth_user: a Maildir has no server", ""},
    {"relay { spool_directory = /s/ }\ndestination a {\n relay_to = maildir:/s/large/x }", 3,
     "/s/large/x is in spool_directory", "elsewhere"},
    {"listener a { listen = \"inet:25\"\n primary = \"[127.0.0.2]:25\" }", 2,
     "listener a: primary: leads back", "another server"},
    {"listener a { listen = \"inet:25@h\" protocol = lmtp primary = \"unix:/b\" }\n"
     "listener b { listen = \"unix:/b\"\n primary = { c, \"[H]:25\" } }",
     1, "listener a: primary: leads back", ""},
    {"destination a { relay_to = maildir:x }", 1, "relay_to: 'maildir:x' is no Maildir",
     "maildir:/path"},
    {"destination a { relay_to = maildir:/x/ }", 1, "relay_to: 'maildir:/x/' is no Maildir",
     "no '/'"},
    {"destination a {\n relay_to = b\n recipient = '%u-%x@a.test' }", 3,
     "recipient: '%u-%x@a.test': '%x' is not allowed here", "%u (local part), %d (domain)"},
    {"destination a {\n relay_to = b\n sender = '%u@' }", 3, "sender: '%u@': ", ""},
    {"destination a {\n relay_to = 'maildir:/srv/%u' }", 2,
     "destination a: relay_to: '/srv/%u': '%u' is not allowed here", "%d, the domain"},
    {"destination a {\n relay_to = {\n 'maildir:/srv/{%Y' } }", 3, "a brace has no partner",
     "{%Y-%m}"},
    {"relay { spool_directory = /var/spool/sm }\ndestination a {\n relay_to = "
     "'maildir:/var/spool/%d/{%Y}' }",
     3, "/var/spool/%d/{%Y} can lead into spool_directory", "elsewhere"},
    {"listener a { listen = inet:1 primary = maildir:/x }", 1, "primary: 'maildir:/x'",
     "[host]:port"},
    {"destination a { relay_to = b\n unless_header = { \"a: b\",\n YES } }", 3,
     "unless_header: 'YES' has no ':'", "\"NAME: VALUE\""},
    {"destination a { relay_to = b\n unless_header = \": YES\" }", 2,
     "unless_header: ': YES' has no name", "\"NAME: VALUE\""},
    {"destination a { relay_to = b\n unless_header = \"X Spam: YES\" }", 2,
     "unless_header: 'X Spam: YES' has a character before the ':'", "\"NAME: VALUE\""},
    {"destination a { relay_to = b\n unless_header = \"X-Spam:\" }", 2,
     "unless_header: 'X-Spam:' has no value", "\"NAME: VALUE\""},
    {"destination a { relay_to = b\n max_size = 10MB }", 2, "max_size: '10MB'", "from 0 to 1024G"},
    {"destination a { relay_to = b\n format = mbox }", 2, "format: 'mbox'", "\"journal\""},
    {"destination a { relay_to = b\n journal_from = x }", 2, "journal_from: 'x'", "an address"},
    {"destination a { relay_to = b\n journal_from = '\xc3\xa4@b.test' }", 2,
     "journal_from: ", "an address"},
    {"\n\ndestination a {\n\n}\n", 3, "destination a: relay_to is missing", "at least one"},
    {"\n\ndestination a {\nrelay_to = {}\n}\n", 4, "relay_to is missing", "at least one"},
    {"\nfilter a {\n\n}\n", 2, "filter a: nexthop is missing", "at least one"},
    {"\nfilter A {\n\nnexthop = smtp:a }\n", 2, "filter 'A'", "a-z 0-9 '-'"},
    {"destination none { relay_to = a }\n", 1, "destination 'none'", "not \"none\""},
    {"destination a_b { relay_to = a }\n", 1, "destination 'a_b'", "a-z 0-9 '-'"},
    {"filter a {\n nexthop = a }\n", 2, "nexthop: 'a'", "transport:nexthop"},
    {"filter a { nexthop = 'smtp:' }\n", 1, "nexthop: 'smtp:'", "transport:nexthop"},
    {"filter a { nexthop = 'smtp:a b' }\n", 1, "nexthop: 'smtp:a b'", "transport:nexthop"},
    {"filter a { nexthop = ':a' }\n", 1, "nexthop: ':a'", "transport:nexthop"},
    {"filter a { nexthop = smtp:a\n fallback = b }\n", 2, "fallback: 'b'", "transport:nexthop"},
    {"filter a { nexthop = smtp:a fallback = { smtp:b,\n 'smtp:c d' } }\n", 2, "'smtp:c d'", ""},
    {"filter a { nexthop = smtp:a fallback = { smtp:b,\n relay:c } }\n", 2,
     "filter a: fallback: 'relay:c' is not allowed", "like \"smtp:["},
    {"filter a { nexthop = smtp:a\n fallback = 'smtp:' }\n", 2, "'smtp:' is not", "and a host"},
    {"filter a { nexthop = smtp:a\n fallback = 'smtp:b:1,c:2' }\n", 2, "'smtp:b:1,c:2'", "a host"},
    {"filter a { nexthop = lmtp:a\n fallback = lmtp:unix:/x }\n", 2, "'lmtp:unix:/x'", "a host"},
    {"filter a { nexthop = lmtp:unix:/x\n fallback = lmtp:a }\n", 2, "is a unix socket",
     "a nexthop with a host"},
    {"filter a { nexthop = smtp:a\n fallback = 'smtp:[A]:25' }\n", 2, "is tried already",
     "another filter"},
    {"filter a { nexthop = smtp:a fallback = { smtp:b,\n 'smtp:[b]:25' } }\n", 2,
     "'smtp:[b]:25' is tried already", ""},
    {"filter a { nexthop = smtp:a\n fallback = { smtp:1, smtp:2, smtp:3, smtp:4, smtp:5, smtp:6, "
     "smtp:7, smtp:8,\n smtp:9 } }\n",
     3, "too many values", "8"},
    {"milter { unfiltered_nexthops = 'smtp:[b]' }\nfilter a { nexthop = smtp:a\n fallback = smtp:b "
     "}",
     3, "one of unfiltered_nexthops", "another filter"},
    {"milter b { unfiltered_nexthops = 'smtp:[b]' }\nfilter a { nexthop = smtp:a\n fallback = "
     "smtp:b }",
     3, "one of unfiltered_nexthops", "another filter"},
    {"filter a { nexthop = smtp:a\n fallback = 'smtp:localhost:10030' }\n", 2,
     "is splitrelay (relay.listen)", "another filter"},
    {"filter a { nexthop = smtp:a }\nfilter b { nexthop = smtp:b }\nfilter a { nexthop = smtp:a }",
     3, "'a' is declared twice", "must differ"},
    {"destination a { relay_to = a }\n\ndestination a { relay_to = a }", 3, "declared twice", ""},
    {"\nmilter {\n socket = \"unix:/x\n}\n\n", 3, "unterminated string", ""},
    {"\nmilter {\n socket = 'unix:/x\n}\n\n", 3, "unterminated string", ""},
    {"\n\n/* x\n\n", 3, "unterminated comment", "*/"},
    {"\nmilter {\n\nlog {\n}\n", 2, "'{' is never closed", "'}'"},
    {"\nlog {\n}\n}\n", 4, "unexpected '}'", "'{'"},
    {"\ninclude(\"x\"\n", 2, "'(' is never closed", "')'"},
    {"relay {\n hostname = \"\\101\" }", 2, "escape sequences", "'...'"},
    {"tag_domain =\n\"${HOME\"\n", 2, "\"${\" without \"}\"", "${NAME}"},
    {"milter { filter_maps = {\n * } }", 2, "'*'", "quotes"},
    {"recipient_delimiter = +", 1, "'+'", "quotes"},
    {"\ninclude(\"missing.conf\")", 2, "missing.conf: No such file", ""},
    {"\ninclude(\"\")", 2, "include takes one file", "include(\"/path\")"},
    {"\n\ninclude(\"c\")", 3, "included too deeply", "c"},
};

START_TEST(mistakes_are_reported_with_their_line)
{
    struct err err = {{0}};
    char where[160];
    struct config *c = load(mistakes[_i].config, &err);

    ck_assert_ptr_null(c);
    snprintf(where, sizeof where, "%s/c:%u: ", dir, mistakes[_i].line);
    if (strncmp(err.text, where, strlen(where)) != 0 ||
        strstr(err.text, mistakes[_i].wrong) == NULL ||
        strstr(err.text, mistakes[_i].allowed) == NULL)
        ck_abort_msg("wanted '%s' '%s' '%s', got '%s'", where, mistakes[_i].wrong,
                     mistakes[_i].allowed, err.text);
}
END_TEST

START_TEST(a_nul_byte_is_refused)
{
    struct err err;

    ck_assert_ptr_null(load_bytes("log {}\nlog\0{}\n", 14, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "/c:2: the file holds a NUL byte"));
}
END_TEST

START_TEST(files_that_cannot_be_read_are_named)
{
    struct err err;
    char path[128];

    snprintf(path, sizeof path, "%s/missing", dir);
    ck_assert_ptr_null(config_file_load(path, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "/missing: No such file or directory"));
    ck_assert_ptr_null(config_file_load(dir, &err));
    ck_assert_ptr_nonnull(strstr(err.text, "is a directory"));
    snprintf(path, sizeof path, "%s/fifo", dir);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_ptr_null(config_file_load(path, &err)); /* at once, although nothing writes to it */
    ck_assert_ptr_nonnull(strstr(err.text, "/fifo: is no regular file"));
    unlink(path);
}
END_TEST

START_TEST(includes_are_read_and_faults_in_them_named)
{
    struct err err;
    static const char one[] = "# x\ndestination b { relay_to = b }\ninclude('two')\n";
    static const char two[] = "\n\nfilter f { nexthop = smtp:f }\n";
    static const char bad[] = "# x\nrelay {\n max_connections = x }\n";

    write_file("one", one, strlen(one));
    write_file("two", two, strlen(two));
    write_file("bad", bad, strlen(bad));
    struct config *c = load_valid("destination a { relay_to = a }\ninclude(\"one\")\n"
                                  "destination c { relay_to = c }\n");
    ck_assert_uint_eq(c->destination_count, 3);
    ck_assert_str_eq(c->destinations[1].name, "b");
    ck_assert_uint_eq(c->destinations[1].place.line, 2);
    ck_assert_uint_eq(c->destinations[2].place.line, 3);
    ck_assert_uint_eq(c->filters[0].place.line, 3);
    config_free(c);

    ck_assert_ptr_null(load("include(\"bad\")\n", &err));
    ck_assert_ptr_nonnull(strstr(err.text, "/bad:3: max_connections: 'x'"));
}
END_TEST

#ifdef HAVE_LIBPQ
START_TEST(a_database_of_many_nodes_is_read)
{
    static const char secret[] = "relay { queue = \"postgresql://u:s@db1/q\" }\n";
    char name[256];

    ck_assert_int_eq(gethostname(name, sizeof name), 0);
    write_file("secret", secret, strlen(secret));
    struct config *c = load_valid("include(\"secret\")\nrelay { queue_replicated = no }\n");
    ck_assert_str_eq(c->relay.queue, "postgresql://u:s@db1/q");
    ck_assert(!c->relay.queue_replicated);
    ck_assert_str_eq(c->relay.node, name);
    ck_assert_ptr_nonnull(strstr(c->relay.queue_file, "/secret"));
    config_free(c);
    c = load_valid("include(\"secret\")\nrelay { node = relay1 hostname = mx.test }\n");
    ck_assert_str_eq(c->relay.node, "relay1");
    config_free(c);
}
END_TEST
#endif

START_TEST(a_pattern_includes_what_matches_in_order)
{
    static const char b[] = "destination b { relay_to = b }\n",
                      a[] = "destination a { relay_to = a }\n";
    static const char bad[] = "\n\nmilter { soket = x }\n", other[] = "nonsense";
    char path[128];
    struct err err;

    struct config *c = load_valid("include(\"conf.d/*.conf\")"); /* no such directory */
    ck_assert_uint_eq(c->destination_count, 0);
    config_free(c);
    snprintf(path, sizeof path, "%s/conf.d", dir);
    ck_assert_int_eq(mkdir(path, 0755), 0);
    c = load_valid("include(\"conf.d/*.conf\")"); /* none matches */
    config_free(c);
    write_file("conf.d/20.conf", b, strlen(b));
    write_file("conf.d/10.conf", a, strlen(a));
    write_file("conf.d/10.conf.orig", other, strlen(other));
    c = load_valid("include(\"conf.d/*.conf\")\ndestination c { relay_to = c }\n");
    ck_assert_uint_eq(c->destination_count, 3);
    ck_assert_str_eq(c->destinations[0].name, "a");
    ck_assert_str_eq(c->destinations[1].name, "b");
    ck_assert_uint_eq(c->destinations[1].place.line, 1);
    ck_assert_ptr_nonnull(strstr(c->destinations[1].place.file, "/conf.d/20.conf"));
    config_free(c);
    write_file("conf.d/15.conf", bad, strlen(bad));
    ck_assert_ptr_null(load("include(\"conf.d/*.conf\")", &err));
    ck_assert_ptr_nonnull(strstr(err.text, "/conf.d/15.conf:3: unknown key 'soket' in section"));
    write_file("conf.d/15.conf", a, strlen(a));
    ck_assert_ptr_null(load("include(\"conf.d/1?.conf\")", &err));
    ck_assert_ptr_nonnull(strstr(err.text, "/conf.d/15.conf:1: destination 'a' is declared twice"));
    ck_assert_ptr_nonnull(strstr(err.text, "/conf.d/10.conf:1; names must differ"));
    ck_assert_ptr_null(load("\ninclude(\"conf.d/30.conf\")", &err)); /* no pattern: must exist */
    ck_assert_ptr_nonnull(strstr(err.text, "/c:2: "));
}
END_TEST

static const struct {
    const char *text;
    const char *filter; /* name, or NULL */
} nexthop_searches[] = {
    {"smtp:[secondaryfilter.domain.com]:25", "secondary"},
    {"smtp:secondaryfilter.domain.com:25", "secondary"},
    {"smtp:secondaryfilter.domain.com", "secondary"},
    {"SMTP:SecondaryFilter.domain.com", "secondary"},
    {"smtp:primaryfilter.domain.com:10024", "primary"},
    {"smtp:primaryfilter.domain.com:10025", NULL},
    {"smtp:primaryfilter.domain.com", NULL},
    {"lmtp:primaryfilter.domain.com:10024", NULL},
    {"smtp", NULL},
    {"", NULL},
    {"smtp:a:b:c", NULL},
    {"lmtp:unix:/Run/x", "local"},
    {"lmtp:unix:/run/x", NULL},
    {"pipe:Weird!Thing", "weird"},
    {"pipe:weird!thing", "weird"},
    {"smtp:samehost", "bare"},
    {"smtp:[samehost]", "bracketed"},
    {"smtp:samehost:25", "bracketed"},
};

START_TEST(nexthops_find_their_filter)
{
    struct config *c =
        load_valid("filter secondary { nexthop = smtp:[secondaryfilter.domain.com]:25 }"
                   "filter primary { nexthop = smtp:[primaryfilter.domain.com]:10024 }"
                   "filter local { nexthop = lmtp:unix:/Run/x }"
                   "filter weird { nexthop = pipe:weird!thing }"
                   "filter bracketed { nexthop = smtp:[samehost] }"
                   "filter bare { nexthop = smtp:samehost }");
    const struct config_filter *f = config_find_nexthop(c, nexthop_searches[_i].text);

    if (nexthop_searches[_i].filter == NULL)
        ck_assert_ptr_null(f);
    else
        ck_assert(f != NULL && strcmp(f->name, nexthop_searches[_i].filter) == 0);
    ck_assert_str_eq(config_find_filter(c, "Weird")->name, "weird");
    ck_assert_ptr_null(config_find_filter(c, "weirder"));
    config_free(c);
}
END_TEST

static const struct {
    const char *text;
    int rc;
    unsigned seconds;
    const char *shown;
} times[] = {
    {"0", 0, 0, "0s"},
    {"90", 0, 90, "90s"},
    {"30s", 0, 30, "30s"},
    {"5m", 0, 300, "5m"},
    {"60m", 0, 3600, "1h"},
    {"24h", 0, 86400, "1d"},
    {"5D", 0, 432000, "5d"},
    {"4294967295", 0, 4294967295u, "4294967295s"},
    {"4294967296", -1, 0, NULL},
    {"71582789m", -1, 0, NULL},
    {"99999999999999999999999", -1, 0, NULL},
    {"", -1, 0, NULL},
    {"s", -1, 0, NULL},
    {"-5s", -1, 0, NULL},
    {"5 s", -1, 0, NULL},
    {"5ss", -1, 0, NULL},
    {"5w", -1, 0, NULL},
    {"1.5h", -1, 0, NULL},
};

START_TEST(times_have_units)
{
    unsigned seconds = 7;
    char shown[24];

    ck_assert_int_eq(config_units_parse_time(times[_i].text, &seconds), times[_i].rc);
    ck_assert_uint_eq(seconds, times[_i].rc == 0 ? times[_i].seconds : 7);
    if (times[_i].rc < 0)
        return;
    config_units_format_time(seconds, shown, sizeof shown);
    ck_assert_str_eq(shown, times[_i].shown);
}
END_TEST

static const struct {
    const char *text;
    int rc;
    uint64_t bytes;
    const char *shown;
} sizes[] = {
    {"0", 0, 0, "0"},
    {"4123", 0, 4123, "4123"},
    {"64k", 0, 65536, "64k"},
    {"64K", 0, 65536, "64k"},
    {"50M", 0, 52428800, "50M"},
    {"2g", 0, 2147483648u, "2G"},
    {"18446744073709551615", 0, UINT64_MAX, "18446744073709551615"},
    {"18446744073709551616", -1, 0, NULL},
    {"17179869184G", -1, 0, NULL},
    {"5T", -1, 0, NULL},
    {"5kb", -1, 0, NULL},
    {"k", -1, 0, NULL},
    {"", -1, 0, NULL},
};

START_TEST(sizes_have_units)
{
    uint64_t bytes = 7;
    char shown[24];

    ck_assert_int_eq(config_units_parse_size(sizes[_i].text, &bytes), sizes[_i].rc);
    ck_assert_uint_eq(bytes, sizes[_i].rc == 0 ? sizes[_i].bytes : 7);
    if (sizes[_i].rc < 0)
        return;
    config_units_format_size(bytes, shown, sizeof shown);
    ck_assert_str_eq(shown, sizes[_i].shown);
}
END_TEST

static void make_dir(void)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
}

static void remove_dir(void)
{
    static const char *const names[] = {"c",
                                        "one",
                                        "two",
                                        "bad",
                                        "conf.d/10.conf",
                                        "conf.d/15.conf",
                                        "conf.d/20.conf",
                                        "conf.d/10.conf.orig"};
    char path[128];

    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
    snprintf(path, sizeof path, "%s/conf.d", dir);
    (void)rmdir(path);
    (void)rmdir(dir);
}

int main(void)
{
    TCase *t = tcase_create("config");

    tcase_add_checked_fixture(t, make_dir, remove_dir);
    tcase_add_test(t, all_options_are_read);
    tcase_add_test(t, destinations_are_read);
    tcase_add_test(t, conditions_are_read);
    tcase_add_test(t, there_are_up_to_32_conditions);
    tcase_add_test(t, defaults_are_those_of_the_manual);
    tcase_add_test(t, templates_are_told_from_fixed_addresses);
    tcase_add_test(t, an_empty_file_is_a_configuration);
    tcase_add_test(t, milters_with_names);
    tcase_add_loop_test(t, sockets_are_written_as_libmilter_reads_them, 0,
                        UNIT_COUNT(libmilter_texts));
    tcase_add_test(t, a_milter_socket_is_local_unless_it_knows_its_mtas);
    tcase_add_test(t, the_environment_is_substituted_in_double_quotes);
    tcase_add_test(t, a_second_section_adds_and_the_last_value_counts);
    tcase_add_loop_test(t, mistakes_are_reported_with_their_line, 0, UNIT_COUNT(mistakes));
    tcase_add_test(t, a_nul_byte_is_refused);
    tcase_add_test(t, files_that_cannot_be_read_are_named);
    tcase_add_test(t, includes_are_read_and_faults_in_them_named);
#ifdef HAVE_LIBPQ
    tcase_add_test(t, a_database_of_many_nodes_is_read);
#endif
    tcase_add_test(t, a_pattern_includes_what_matches_in_order);
    tcase_add_loop_test(t, nexthops_find_their_filter, 0, UNIT_COUNT(nexthop_searches));
    tcase_add_loop_test(t, times_have_units, 0, UNIT_COUNT(times));
    tcase_add_loop_test(t, sizes_have_units, 0, UNIT_COUNT(sizes));
    return unit_run("config", t);
}
