/* SPDX-License-Identifier: ISC */
/* Parses the options of setup-postfix, from the command line and from the first line of our
 * part. */
#include "base/mem.h"
#include "ctl/ctl.h"
#include "ctl/setup/files.h"
#include "ctl/setup/setup_postfix.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_REINJECT "10025"
#define DEFAULT_LOCAL "10026"
#define DEFAULT_USER "splitmilter"
#define AFTER_FILTER "after-filter"
#define WHO "splitctl setup-postfix "

enum {
    OPTION_SINGLE = 1,
    OPTION_MULTI,
    OPTION_APPLY,
    OPTION_REMOVE,
    OPTION_POSTFIX,
    OPTION_REINJECT,
    OPTION_RELAY,
    OPTION_NETWORKS,
    OPTION_LOCAL,
    OPTION_SUBMISSION,
    OPTION_IN,
    OPTION_OUT,
    OPTION_USER,
    OPTION_COPIES,
    OPTION_FORCE
};

static const struct option long_options[] = {
    {"single", no_argument, NULL, OPTION_SINGLE},
    {"multi", no_argument, NULL, OPTION_MULTI},
    {"apply", no_argument, NULL, OPTION_APPLY},
    {"remove", no_argument, NULL, OPTION_REMOVE},
    {"postfix", required_argument, NULL, OPTION_POSTFIX},
    {"reinject", required_argument, NULL, OPTION_REINJECT},
    {"relay", required_argument, NULL, OPTION_RELAY},
    {"filter-networks", required_argument, NULL, OPTION_NETWORKS},
    {"local", required_argument, NULL, OPTION_LOCAL},
    {"submission", required_argument, NULL, OPTION_SUBMISSION},
    {"in-hostname", required_argument, NULL, OPTION_IN},
    {"out-hostname", required_argument, NULL, OPTION_OUT},
    {"user", required_argument, NULL, OPTION_USER},
    {"copies", required_argument, NULL, OPTION_COPIES},
    {"force", no_argument, NULL, OPTION_FORCE},
    {0}};

/* Return true if this host can be written into mynetworks. */
static bool is_address(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];

    return strcmp(host, "localhost") == 0 || inet_pton(AF_INET, host, bytes) == 1 ||
           inet_pton(AF_INET6, host, bytes) == 1;
}

/* Parse "PORT" (of 127.0.0.1), "ADDRESS:PORT" or "[ADDRESS]:PORT". without: the text that is parsed
 * if `text` is empty; if both are empty, *out is zero. */
static int parse_listener(const char *text, const char *without, struct endpoint *out)
{
    const char *given = text[0] == '\0' ? without : text;
    struct err err;

    if (given[0] == '\0') {
        memset(out, 0, sizeof *out);
        return 0;
    }
    char *full =
        strchr(given, ':') == NULL ? mem_printf("[127.0.0.1]:%s", given) : mem_strdup(given);
    int rc = endpoint_parse_nexthop(full, out, &err);

    if (rc == 0 && (out->kind != ENDPOINT_INET || !is_address(out->host))) {
        err_set(&err, "not ADDRESS:PORT");
        rc = -1;
    }
    if (rc < 0)
        ctl_complain("%s: %s", text, err.text);
    free(full);
    return rc;
}

/* Parse networks as in mynetworks, separated by commas or spaces. */
static int parse_networks(const char *text, char **out)
{
    struct buf list = {0};
    struct endpoint_network net;
    struct err err;
    int rc = 0;

    while (rc == 0 && *text != '\0') {
        size_t len = strcspn(text, ", ");
        char *item = mem_strndup(text, len);
        if (len > 0 && endpoint_parse_network(item, &net, &err) < 0) {
            ctl_complain("%s: %s", item, err.text);
            rc = -1;
        }
        if (len > 0)
            buf_addf(&list, ", %s", item);
        free(item);
        text += len + (text[len] != '\0');
    }
    free(*out);
    *out = buf_take(&list);
    return rc;
}

/* Set an option to a text. without: the value if `text` is empty. */
static int set_text(char **where, const char *text, const char *without)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "-._/:[]";

    if (text[strspn(text, allowed)] != '\0') {
        ctl_complain("'%s': not a name", text);
        return -1;
    }
    free(*where);
    *where = mem_strdup(text[0] == '\0' ? without : text);
    return 0;
}

static int set_form(struct setup_request *r, enum setup_found form)
{
    if (r->form != SETUP_FOUND_NONE && r->form != form) {
        ctl_complain("--single and --multi exclude each other");
        return -1;
    }
    r->form = form;
    return 0;
}

static int set_copies(struct setup_options *o, const char *text)
{
    o->copies_after_filter = strcmp(text, AFTER_FILTER) == 0;
    if (o->copies_after_filter || text[0] == '\0' || strcmp(text, "front") == 0)
        return 0;
    ctl_complain("--copies=%s: allowed: front, " AFTER_FILTER, text);
    return -1;
}

static int take_option(struct setup_request *r, int option)
{
    struct setup_options *o = &r->options;

    switch (option) {
    case OPTION_SINGLE:
    case OPTION_MULTI:
        return set_form(r, option == OPTION_SINGLE ? SETUP_FOUND_SINGLE : SETUP_FOUND_MULTI);
    case OPTION_APPLY:
        r->is_apply = true;
        return 0;
    case OPTION_REMOVE:
        r->is_remove = true;
        return 0;
    case OPTION_POSTFIX:
        return set_text(&o->directory, optarg, "");
    case OPTION_REINJECT:
        return parse_listener(optarg, DEFAULT_REINJECT, &o->reinject);
    case OPTION_RELAY:
        return set_text(&o->relay, optarg, "");
    case OPTION_NETWORKS:
        return parse_networks(optarg, &o->networks);
    case OPTION_LOCAL:
        return parse_listener(optarg, DEFAULT_LOCAL, &o->local);
    case OPTION_SUBMISSION:
        return parse_listener(optarg, "", &o->submission);
    case OPTION_IN:
        return set_text(&o->in_hostname, optarg, "");
    case OPTION_OUT:
        return set_text(&o->out_hostname, optarg, "");
    case OPTION_USER:
        return set_text(&o->user, optarg, DEFAULT_USER);
    case OPTION_COPIES:
        return set_copies(o, optarg);
    case OPTION_FORCE:
        o->is_forced = true;
        return 0;
    default:
        return -1;
    }
}

void setup_request_init(struct setup_request *r)
{
    *r = (struct setup_request){.options = {
                                    .directory = mem_strdup(""),
                                    .relay = mem_strdup(""),
                                    .networks = mem_strdup(""),
                                    .in_hostname = mem_strdup(""),
                                    .out_hostname = mem_strdup(""),
                                    .user = mem_strdup(DEFAULT_USER),
                                }};
    if (parse_listener("", DEFAULT_REINJECT, &r->options.reinject) < 0 ||
        parse_listener("", DEFAULT_LOCAL, &r->options.local) < 0)
        abort();
}

void setup_request_clear(struct setup_request *r)
{
    free(r->options.directory);
    free(r->options.relay);
    free(r->options.networks);
    free(r->options.in_hostname);
    free(r->options.out_hostname);
    free(r->options.user);
}

int setup_request_parse(struct setup_request *r, int argc, char **argv)
{
    int c;

    optind = 0;
    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        if (take_option(r, c) < 0)
            return -1;
    return optind < argc || (r->is_remove && r->form != SETUP_FOUND_NONE) ? -1 : 0;
}

static void format_listener(struct buf *out, const char *option, const struct endpoint *at,
                            const char *without)
{
    struct endpoint usual = {0};
    char text[300];

    if (parse_listener("", without, &usual) < 0)
        abort();
    if (at->port == usual.port && strcmp(at->host, usual.host) == 0)
        return;
    endpoint_format(at, text, sizeof text);
    buf_addf(out, " --%s=%s", option, text);
}

static void format_text(struct buf *out, const char *option, const char *value, const char *without)
{
    if (strcmp(value, without) != 0)
        buf_addf(out, " --%s=%s", option, value);
}

char *setup_who(const struct setup *s)
{
    const struct setup_options *o = s->options;
    struct buf out = {0}, networks = {0};

    buf_adds(&out, s->is_multi ? SETUP_WHO_MULTI : SETUP_WHO_SINGLE);
    format_listener(&out, "reinject", &o->reinject, DEFAULT_REINJECT);
    format_text(&out, "relay", o->relay, "");
    for (const char *at = o->networks; *at != '\0'; at++)
        if (*at != ' ' && (*at != ',' || networks.len > 0))
            buf_addc(&networks, *at);
    format_text(&out, "filter-networks", buf_str(&networks), "");
    format_listener(&out, "local", &o->local, DEFAULT_LOCAL);
    format_listener(&out, "submission", &o->submission, "");
    format_text(&out, "in-hostname", o->in_hostname, "");
    format_text(&out, "out-hostname", o->out_hostname, "");
    format_text(&out, "user", o->user, DEFAULT_USER);
    format_text(&out, "copies", o->copies_after_filter ? AFTER_FILTER : "", "");
    buf_clear(&networks);
    return buf_take(&out);
}

/* Parse the options in "splitctl setup-postfix --single --relay=...". */
static int parse_who(struct setup_request *r, const char *who)
{
    enum { WORDS = 16 };
    char *text = mem_strdup(who + strlen(WHO)), *rest = text;
    char *argv[WORDS + 1] = {(char *)"setup-postfix"};
    int argc = 1, rc = -1;

    for (char *word; (word = strsep(&rest, " ")) != NULL && argc < WORDS;)
        argv[argc++] = word;
    if (rest == NULL)
        rc = setup_request_parse(r, argc, argv);
    bool is_own = r->options.directory[0] == '\0' && !r->is_apply && !r->is_remove &&
                  !r->options.is_forced && r->form != SETUP_FOUND_NONE;
    free(text);
    return is_own ? rc : -1;
}

int setup_request_recall(struct setup_request *r, const char *directory, struct err *err)
{
    char *path = mem_printf("%s/main.cf", directory), *who = NULL;
    struct buf text = {0};
    int rc = 0;

    if (files_read(path, &text, err) == FILES_OK)
        who = marked_who(buf_str(&text));
    if (who != NULL && (strncmp(who, WHO, strlen(WHO)) != 0 || parse_who(r, who) < 0)) {
        err_set(err,
                "%s: cannot read the options in the first line of our part: give all of them, and "
                "--force",
                path);
        rc = -1;
    }
    free(who);
    free(path);
    buf_clear(&text);
    return rc;
}
