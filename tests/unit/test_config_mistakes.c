/* SPDX-License-Identifier: ISC */
/* Common mistakes, each with its whole message: file, line, key, and what is allowed. */
#include "config/config_file.h"
#include "config/config_option.h"
#include "base/mem.h"
#include "unit.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOP_KEYS                                                                                   \
    "known keys: tag_domain, recipient_delimiter, log, milter, filter, relay, destination, "       \
    "listener, include"
#define LOG_KEYS "known keys: target, facility, level, style"
#define FILTER_KEYS "known keys: nexthop, fallback"

/* `message` is behind "c:". */
static const struct {
    const char *text;
    const char *message;
} mistakes[] = {
    /* marks */
    {"milter {\n socket\n}", "2: socket: '=' is missing"},
    {"milter {\n socket \"unix:/x\"\n}", "2: socket: '=' is missing"},
    {"milter {\n socket: \"unix:/x\"\n}", "2: socket: write '=' instead of ':'"},
    {"milter {\n socket = \"unix:/x\";\n}",
     "2: ';' has no meaning here: remove it, or quote the value"},
    {"log { level = info; }", "1: ';' has no meaning here: remove it, or quote the value"},
    {"milter {\n socket =\n}", "3: socket: a value is missing, before '}'"},
    {"milter {\n socket =\n socket_mode = 600\n}",
     "3: socket: unexpected '=': a value is missing before it, or quotes are missing"},
    {"recipient_delimiter = =", "1: recipient_delimiter: a value is missing, before '='"},
    {"tag_domain =", "1: tag_domain: a value is missing, before the end of the file"},
    {"milter {\n socket = { \"unix:/x\" }\n}",
     "2: socket: one value, not a list: no { } around it"},
    {"milter {\n socket += \"unix:/x\"\n}", "2: socket: one value, not a list: '+=' must be '='"},
    {"milter {\n filter_maps = { \"static:a\"\n  \"static:b\" }\n}",
     "3: filter_maps: a comma is missing, before 'static:b'"},
    {"milter {\n filter_maps = { static:a static:b }\n}",
     "2: filter_maps: a comma is missing, before 'static:b'"},
    {"milter {\n filter_maps = \"static:a\", \"static:b\"\n}",
     "2: filter_maps: unexpected ',': several values stand in braces, like { a, b }"},
    {"milter {\n filter_maps = { , static:b }\n}",
     "2: filter_maps: a value is missing, before ','"},
    {"milter {\n filter_maps = { static:a,, static:b }\n}",
     "2: filter_maps: a value is missing, before ','"},
    {"milter {\n filter_maps = { static:a\n copy_maps = { static:b }\n}",
     "3: filter_maps: a comma is missing, before 'copy_maps'"},
    {"milter {\n filter_maps = { static:a,\n copy_maps = { static:b }\n}",
     "2: filter_maps: '{' is never closed: a '}' is missing"},
    {"milter {\n filter_maps = { static:a\n",
     "2: filter_maps: '{' is never closed: a '}' is missing"},
    {"milter {\n filter_maps = [ static:a ]\n}",
     "2: filter_maps: 'static:a' follows its value; a value with blanks needs quotes"},
    {"milter {\n filter_maps = { { static:a } }\n}",
     "2: filter_maps: a value is missing, before '{'"},
    {"log {\n level = very loud\n}",
     "2: level: 'loud' follows its value; a value with blanks needs quotes"},
    {"log {\n target = stderr levle = info\n}", "2: unknown key 'levle' in section log; " LOG_KEYS},
    {"log {\n level = (info)\n}", "2: level: a value is missing, before '('"},
    {"recipient_delimiter = +", "1: '+' must stand in quotes, or be \"+=\""},
    {"milter { copy_maps = {\n static:* } }", "2: '*' must stand in quotes"},
    {"milter { copy_maps = {\n * } }", "2: '*' must stand in quotes"},
    /* what may be a password is not shown */
    {"relay {\n queue = sqlite \"postgresql://u:secret@db1/q\"\n}",
     "2: queue: 'postgresql://' follows its value; a value with blanks needs quotes"},
    {"relay {\n node = \"postgresql://u:secret@db1/q\"\n}",
     "2: node: 'postgresql://...' is not allowed; allowed: a host name, or \"\" for the system's"},
    {"relay {\n listen = { \"inet:1\" \"postgresql://u:secret@db1/q\" }\n}",
     "2: listen: a comma is missing, before 'postgresql://'"},
    /* sections */
    {"milter\n{\n socket = \"unix:/x\"\n",
     "2: section milter: '{' is never closed: a '}' is missing"},
    {"\nmilter {\n\nlog {\n}\n",
     "2: section milter: '{' is never closed: a '}' is missing before section log in line 4"},
    {"log {\n}\n}\n", "3: unexpected '}': no open '{' before it"},
    {"log\nlevel = info\n", "2: section log: '{' is missing, before 'level'"},
    {"log = { level = info }", "1: log is a section: no '=' before its '{'"},
    {"log { level { info } }", "1: level: '=' is missing"},
    {"filter {\n}", "1: filter: a name is missing, like in: filter NAME { ... }"},
    {"filter a b {\n}", "1: section filter: '{' is missing, before 'b'"},
    {"log front {\n}", "1: section log: '{' is missing, before 'front'"},
    {"milter a {\n}\nmilter a {\n}",
     "3: milter 'a' is declared twice, first at c:1; names must differ"},
    {"milter {\n}\nmilter A {\n}",
     "3: milter 'A': the name is not allowed; allowed: 1 to 63 of a-z 0-9 '-', no '-' at either "
     "end, not \"none\""},
    {"milter a {\n socket = \"inet:1@192.0.2.1\"\n}",
     "2: socket: \"inet:1@192.0.2.1\" can be reached from other machines: set trusted_mtas to the "
     "addresses of the mail servers that may connect"},
    {"milter a {\n canonical_maps = static:a\n orcpt_maps = static:a\n}",
     "3: orcpt_maps: canonical_maps in the same section would rewrite a recipient again; allowed: "
     "one of the two"},
    {"milter a b {\n}", "1: section milter: '{' is missing, before 'b'"},
    {"{ log { } }", "1: unexpected '{': a name must stand before it"},
    {"filter a { nexthop = smtp:a }\n\nfilter a { nexthop = smtp:b }\n",
     "3: filter 'a' is declared twice, first at c:1; names must differ"},
    {"filter A { nexthop = smtp:a }", "1: filter 'A': the name is not allowed; allowed: 1 to 63 of "
                                      "a-z 0-9 '-', no '-' at either end, not \"none\""},
    {"\nfilter a {\n}", "2: filter a: nexthop is missing; at least one value is needed"},
    {"destination a {\n relay_to = {}\n}",
     "2: destination a: relay_to is missing; at least one value is needed"},
    /* names */
    {"log {\n levle = info\n}", "2: unknown key 'levle' in section log; " LOG_KEYS},
    {"log {\n Level = info\n}", "2: unknown key 'Level' in section log; " LOG_KEYS},
    {"filters a { }", "1: unknown key 'filters'; " TOP_KEYS},
    {"level = info", "1: unknown key 'level'; it belongs in section log; " TOP_KEYS},
    {"log {\n tag_domain = x.y\n}",
     "2: unknown key 'tag_domain' in section log; it belongs outside of all sections; " LOG_KEYS},
    {"log {\n metrics = {}\n}",
     "2: unknown key 'metrics' in section log; it belongs in section milter or relay; " LOG_KEYS},
    {"filter a {\n include(\"x\")\n}", "2: unknown key 'include' in section filter; it belongs "
                                       "outside of all sections; " FILTER_KEYS},
    {"smtpd_milters = unix:/x", "1: unknown key 'smtpd_milters'; " TOP_KEYS},
    /* strings */
    {"\nmilter {\n socket = \"unix:/x\n}\n\n", "3: unterminated string: no closing quote follows"},
    {"milter {\n socket = \"unix:/x\n socket_group = \"postfix\"\n}\n",
     "2: the string that begins here ends in line 3: is its closing quote missing? There: socket: "
     "'postfix' follows its value; a value with blanks needs quotes"},
    {"milter {\n socket = \"unix:/x\n socket_group = \"\"\n}\n",
     "2: the string that begins here ends in line 3: is its closing quote missing? There: "
     "unterminated string: no closing quote follows"},
    {"log { level = \xe2\x80\x9cinfo\xe2\x80\x9d }", "1: typographic quotes; write \" or '"},
    {"log {\n\xc2\xa0level = info\n}", "2: a no-break space; write an ordinary one"},
    {"\xef\xbb\xbflog { }", "1: a byte order mark (BOM); save the file as UTF-8 without it"},
    {"log {}\n\xef\xbb\xbfrelay { }",
     "2: a byte order mark (BOM); save the file as UTF-8 without it"},
    {"\xff\xfel\0o\0", "1: the file is UTF-16; save it as UTF-8"},
    {"tag_domain = \"${SPLIT_TEST_NONE}\"",
     "1: ${SPLIT_TEST_NONE}: the environment has no variable of that name; "
     "${SPLIT_TEST_NONE:-text} stands for `text' then"},
    {"tag_domain = ${SPLIT_TEST_NONE}",
     "1: ${SPLIT_TEST_NONE}: the environment has no variable of that name; "
     "${SPLIT_TEST_NONE:-text} stands for `text' then"},
    {"tag_domain = a.${SPLIT_TEST_NONE:-b}",
     "1: a variable inside of a value: put the value into \"...\""},
    {"tag_domain = \"${SPLIT_TEST_NONE\"",
     "1: \"${\" without \"}\": write ${NAME} or ${NAME:-default}"},
    {"relay {\n hostname = \"\\101\" }",
     "2: escape sequences with digits are not allowed in strings; write \\\\ for a backslash, or "
     "quote the string with '...'"},
    {"relay {\n hostname = \"\\xyz\" }",
     "2: \"\\x\" needs one or two hexadecimal digits, and not 00"},
    {"\n/* log {\n}\n", "2: unterminated comment: no \"*/\" follows"},
    /* values */
    {"log { level = loud }",
     "1: level: 'loud' is not allowed; allowed: \"error\", \"warning\", \"info\", \"debug\""},
    {"milter { filter_maps = { /etc/filter } }",
     "1: filter_maps: '/etc/filter' is no table; allowed: \"type:argument\", like "
     "\"texthash:/path\""},
    {"milter { socket = /run/x }",
     "1: socket: '/run/x' is no socket; allowed: \"inet:PORT@HOST\", \"inet:PORT\", "
     "\"inet6:PORT@HOST\" or \"unix:/path\""},
    {"relay { max_connections = many }",
     "1: max_connections: 'many' is not allowed; allowed: a number from 1 to 100000"},
    {"destination a { relay_to = b\n max_age = 5w }",
     "2: max_age: '5w' is not allowed; allowed: a time like \"30s\", \"5m\", \"1h\", \"5d\", from "
     "1s to 366d"},
    {"relay { message_size_limit = 50MB }",
     "1: message_size_limit: '50MB' is not allowed; allowed: a size like \"64k\", \"50M\", \"2G\", "
     "from 1k to 1024G"},
    {"filter a { nexthop = host }",
     "1: nexthop: 'host' is not allowed; allowed: \"transport:nexthop\" as in transport(5), like "
     "\"smtp:[filter.example.com]:10024\""},
    {"destination a { relay_to = { b,\n unix:/x } }",
     "2: destination a: relay_to: a unix socket needs protocol = \"lmtp\""},
    /* include */
    {"include \"x\"",
     "1: include takes one file; allowed: include(\"/path\"), or include(\"/directory/*.conf\")"},
    {"include = \"x\"",
     "1: include takes one file; allowed: include(\"/path\"), or include(\"/directory/*.conf\")"},
    {"include(\"a\", \"b\")",
     "1: include takes one file; allowed: include(\"/path\"), or include(\"/directory/*.conf\")"},
    {"include()",
     "1: include takes one file; allowed: include(\"/path\"), or include(\"/directory/*.conf\")"},
    {"\ninclude(\"x\"\n", "2: '(' is never closed: a ')' is missing"},
};

START_TEST(each_is_told_completely)
{
    struct err err = {{0}};
    const char *text = mistakes[_i].text;
    char *wanted = mem_printf("c:%s", mistakes[_i].message);

    unsetenv("SPLIT_TEST_NONE");
    struct config *c = config_file_load_text("c", text, strlen(text), &err);
    if (c != NULL)
        ck_abort_msg("accepted: %s", text);
    if (strcmp(err.text, wanted) != 0)
        ck_abort_msg("of\n%s\nwanted '%s'\ngot    '%s'", text, wanted, err.text);
    free(wanted);
}
END_TEST

START_TEST(no_option_shows_a_uri_that_it_does_not_take)
{
    for (const struct config_option *o = config_options; o->name != NULL; o++) {
        static _Alignas(max_align_t) char sections[CONFIG_SECTION_COUNT][65536];
        struct err err = {""};
        if (config_option_store(o, sections[o->section], "postgresql://u:secret@db1/q", &err) == 0)
            continue;
        ck_assert_msg(err.text[0] != '\0' && strstr(err.text, "secret") == NULL, "%s: %s", o->name,
                      err.text);
    }
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("config_mistakes");

    tcase_add_loop_test(t, each_is_told_completely, 0, UNIT_COUNT(mistakes));
    tcase_add_test(t, no_option_shows_a_uri_that_it_does_not_take);
    return unit_run("config_mistakes", t);
}
