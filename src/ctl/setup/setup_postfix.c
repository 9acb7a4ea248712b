/* SPDX-License-Identifier: ISC */
#include "ctl/setup/setup_postfix.h"
#include "base/mem.h"
#include "base/process.h"
#include "ctl/ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* Merge the options of the command line with those of the last call. *was_set_up_out: Postfix was
 * set up by an earlier call. */
static int complete(struct setup_request *r, int argc, char **argv, bool *was_set_up_out,
                    struct err *err)
{
    char *directory = mem_strdup(r->options.directory);
    bool is_forced = r->options.is_forced;

    setup_request_clear(r);
    setup_request_init(r);
    int rc = setup_request_recall(r, directory, err);
    if (rc < 0 && is_forced) {
        setup_request_clear(r);
        setup_request_init(r);
        rc = 0;
    }
    enum setup_found former = r->form;
    r->form = SETUP_FOUND_NONE;
    if (rc == 0 && setup_request_parse(r, argc, argv) < 0)
        abort(); /* the same arguments were parsed before */
    if (!r->is_remove && r->form == SETUP_FOUND_NONE)
        r->form = former;
    *was_set_up_out = former != SETUP_FOUND_NONE;
    free(r->options.directory);
    r->options.directory = directory;
    return rc;
}

static int plan(struct setup *s, const struct setup_request *r, struct err *err)
{
    if (r->is_remove)
        return setup_plan_remove(s, r->is_apply, err);
    return s->is_multi ? setup_plan_multi(s, err) : setup_plan_single(s, err);
}

static void say_what_is_left(const struct setup_request *r, bool was_set_up)
{
    if (!r->is_apply) {
        puts(r->is_remove ? "This is what --remove --apply does." : "This is what --apply does.");
        return;
    }
    if (r->is_remove)
        return;
    puts(was_set_up
             ? "Done. `splitctl reload' makes the daemons read the configuration (sockets that "
               "changed need a restart);\nsee `splitctl check' and `splitctl status'."
             : "Done. splitmilter and splitrelay must run (systemctl restart splitmilter "
               "splitrelay);\nsee `splitctl check' and `splitctl status'.");
    if (r->options.copies_after_filter)
        puts("splitmilter@" SETUP_AFTER " must run, too: systemctl enable --now "
             "splitmilter@" SETUP_AFTER);
    if (r->form == SETUP_FOUND_MULTI)
        ctl_printf(
            "All queues: postmulti -x mailq. mailq alone shows the default instance only.\n");
}

/* Undo the steps after a failure. Steps of --remove are not undone. If the plan makes instances,
 * and they cannot be stopped or have mail in their queues, nothing is undone either. */
static void go_back(const struct setup *s, bool is_remove)
{
    struct err why;

    if (is_remove)
        ctl_complain("the steps before stay done: run --remove --apply again for the rest");
    else if (s->makes_instances && setup_drain(s->options, &why) < 0)
        ctl_complain("nothing is undone (%s): run --apply again, or --remove --apply", why.text);
    else
        steps_undo(s->steps);
}

static int work(struct setup *s, const struct setup_request *r, bool was_set_up, struct err *err)
{
    if (r->is_apply && geteuid() != 0) {
        err_set(err, "only root can do that");
        return -1;
    }
    if (r->is_remove && r->is_apply && setup_drain(s->options, err) < 0)
        return -1;
    if (plan(s, r, err) < 0)
        return -1;
    if (!steps_has_changes(s->steps)) {
        steps_show(s->steps);
        ctl_printf("Nothing to do.\n");
        return 0;
    }
    if (!r->is_apply)
        steps_show(s->steps);
    else if (steps_apply(s->steps, err) < 0) {
        go_back(s, r->is_remove);
        return -1;
    }
    say_what_is_left(r, was_set_up);
    return 0;
}

/* Do the request and return the exit code. --remove needs no configuration. */
static int serve(const struct setup_request *r, const char *config_path, bool was_set_up)
{
    struct steps steps = {0};
    struct err err;
    struct config *config = r->is_remove ? NULL : ctl_load(config_path);
    struct setup s = {.config = config,
                      .options = &r->options,
                      .steps = &steps,
                      .is_multi = r->form == SETUP_FOUND_MULTI};
    int code = EXIT_OK;

    if (config == NULL && !r->is_remove) {
        code = EXIT_CONFIG;
    } else if (work(&s, r, was_set_up, &err) < 0) {
        ctl_complain("%s", err.text);
        code = EXIT_CHECK_FAILED;
    }
    steps_clear(&steps);
    config_free(config);
    return code;
}

int ctl_setup_postfix(const struct ctl_command *self, const char *config_path, int argc,
                      char **argv)
{
    struct setup_request r;
    struct err err;
    bool was_set_up = false;
    int code;

    setup_request_init(&r);
    if (setup_request_parse(&r, argc, argv) < 0) {
        code = ctl_usage(self);
    } else if (find_directory(&r.options, &err) < 0 ||
               complete(&r, argc, argv, &was_set_up, &err) < 0) {
        ctl_complain("%s", err.text);
        code = EXIT_CHECK_FAILED;
    } else if (r.form == SETUP_FOUND_NONE && !r.is_remove) {
        ctl_complain("%s is not set up yet: choose --single or --multi", r.options.directory);
        code = ctl_usage(self);
    } else {
        code = serve(&r, config_path, was_set_up);
    }
    setup_request_clear(&r);
    return code;
}
