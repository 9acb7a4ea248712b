/* SPDX-License-Identifier: ISC */
#include "setup_postfix.h"
#include "../mem.h"
#include "../process.h"
#include "ctl.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum action { ACTION_PRINT, ACTION_APPLY, ACTION_REMOVE };

struct request {
    enum setup_found form; /* NONE: not said */
    enum action action;
    struct setup_options options;
};

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
    {"force", no_argument, NULL, OPTION_FORCE},
    {0}};

/* Can it stand in mynetworks? */
static bool is_address(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];

    return strcmp(host, "localhost") == 0 || inet_pton(AF_INET, host, bytes) == 1 ||
           inet_pton(AF_INET6, host, bytes) == 1;
}

/* "PORT" (of 127.0.0.1) or "ADDRESS:PORT", "[ADDRESS]:PORT". */
static int parse_listener(const char *text, struct endpoint *out)
{
    char *full = strchr(text, ':') == NULL ? mem_printf("[127.0.0.1]:%s", text) : mem_strdup(text);
    struct err err;
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

/* Networks as in mynetworks, separated by comma. */
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

static int set_text(char **where, const char *text)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "-._/:[]";

    if (text[0] == '\0' || text[strspn(text, allowed)] != '\0') {
        ctl_complain("'%s': not a name", text);
        return -1;
    }
    free(*where);
    *where = mem_strdup(text);
    return 0;
}

static int take_option(struct request *r, int option)
{
    struct setup_options *o = &r->options;

    switch (option) {
    case OPTION_SINGLE:
    case OPTION_MULTI:
        r->form = option == OPTION_SINGLE ? SETUP_FOUND_SINGLE : SETUP_FOUND_MULTI;
        return 0;
    case OPTION_APPLY:
    case OPTION_REMOVE:
        if (r->action != ACTION_PRINT)
            return -1;
        r->action = option == OPTION_APPLY ? ACTION_APPLY : ACTION_REMOVE;
        return 0;
    case OPTION_POSTFIX:
        return set_text(&o->directory, optarg);
    case OPTION_REINJECT:
        return parse_listener(optarg, &o->reinject);
    case OPTION_RELAY:
        return set_text(&o->relay, optarg);
    case OPTION_NETWORKS:
        return parse_networks(optarg, &o->networks);
    case OPTION_LOCAL:
        return parse_listener(optarg, &o->local);
    case OPTION_SUBMISSION:
        return parse_listener(optarg, &o->submission);
    case OPTION_IN:
        return set_text(&o->in_hostname, optarg);
    case OPTION_OUT:
        return set_text(&o->out_hostname, optarg);
    case OPTION_USER:
        return set_text(&o->user, optarg);
    case OPTION_FORCE:
        o->is_forced = true;
        return 0;
    default:
        return -1;
    }
}

static int parse(struct request *r, int argc, char **argv)
{
    int c;

    r->options = (struct setup_options){
        .directory = mem_strdup(""),
        .relay = mem_strdup(""),
        .networks = mem_strdup(""),
        .in_hostname = mem_strdup(""),
        .out_hostname = mem_strdup(""),
        .user = mem_strdup("splitmilter"),
    };
    if (parse_listener("10025", &r->options.reinject) < 0 ||
        parse_listener("10026", &r->options.local) < 0)
        return -1;
    optind = 0;
    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1)
        if (take_option(r, c) < 0)
            return -1;
    if (optind < argc)
        return -1;
    return (r->form == SETUP_FOUND_NONE) == (r->action == ACTION_REMOVE) ? 0 : -1;
}

static void clear(struct setup_options *o)
{
    free(o->directory);
    free(o->relay);
    free(o->networks);
    free(o->in_hostname);
    free(o->out_hostname);
    free(o->user);
}

static int find_directory(struct setup_options *o, struct err *err)
{
    if (o->directory[0] == '\0') {
        free(o->directory);
        o->directory = postfix_default_directory(err);
        if (o->directory == NULL) {
            o->directory = mem_strdup("");
            return -1;
        }
    }
    if (o->directory[0] == '/')
        return 0;
    err_set(err, "%s: not an absolute path", o->directory);
    return -1;
}

static int plan(struct setup *s, const struct request *r, struct err *err)
{
    if (r->action == ACTION_REMOVE)
        return setup_plan_remove(s, err);
    return s->is_multi ? setup_plan_multi(s, err) : setup_plan_single(s, err);
}

static void say_what_is_left(const struct request *r)
{
    if (r->action == ACTION_PRINT)
        puts("This is what --apply does.");
    if (r->action != ACTION_APPLY)
        return;
    puts("Done. splitmilter and splitrelay must run (systemctl restart splitmilter splitrelay);\n"
         "see `splitctl check' and `splitctl status'.");
    if (r->form == SETUP_FOUND_MULTI)
        puts("All queues: postmulti -x mailq. mailq alone shows the default instance only.");
}

/* After a failure. Instances that run by now have perhaps taken mail: then everything stays. */
static void go_back(const struct setup *s, enum action action)
{
    struct err why;

    if (action == ACTION_REMOVE)
        ctl_complain("what is removed stays removed: say --remove again for the rest");
    else if (s->makes_instances && setup_drain(s->options, &why) < 0)
        ctl_complain("nothing is undone (%s): say --apply again, or --remove", why.text);
    else
        steps_undo(s->steps);
}

static int work(struct setup *s, struct request *r, struct err *err)
{
    if (find_directory(&r->options, err) < 0)
        return -1;
    if (r->action != ACTION_PRINT && geteuid() != 0) {
        err_set(err, "only root can do that");
        return -1;
    }
    if (r->action == ACTION_REMOVE && setup_drain(s->options, err) < 0)
        return -1;
    if (plan(s, r, err) < 0)
        return -1;
    if (!steps_has_changes(s->steps)) {
        steps_show(s->steps);
        puts("Nothing to do.");
        return 0;
    }
    if (r->action == ACTION_PRINT)
        steps_show(s->steps);
    else if (steps_apply(s->steps, err) < 0) {
        go_back(s, r->action);
        return -1;
    }
    say_what_is_left(r);
    return 0;
}

int ctl_setup_postfix(const struct ctl_command *self, const char *config_path, int argc,
                      char **argv)
{
    struct request r = {0};
    struct steps steps = {0};
    struct err err;
    int code = EXIT_OK;

    if (parse(&r, argc, argv) < 0) {
        clear(&r.options);
        return ctl_usage(self);
    }
    /* What was set up can be removed without a configuration. */
    struct config *config = r.action == ACTION_REMOVE ? NULL : ctl_load(config_path);
    struct setup s = {.config = config,
                      .options = &r.options,
                      .steps = &steps,
                      .is_multi = r.form == SETUP_FOUND_MULTI};
    if (config == NULL && r.action != ACTION_REMOVE) {
        code = EXIT_CONFIG;
    } else if (work(&s, &r, &err) < 0) {
        ctl_complain("%s", err.text);
        code = EXIT_CHECK_FAILED;
    }
    steps_clear(&steps);
    config_free(config);
    clear(&r.options);
    return code;
}
