/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "ctl/setup/setup_postfix.h"
#include "base/ascii.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHROOT_SCRIPT "/usr/lib/postfix/configure-instance.sh"

/* A secondary instance, with what is needed to make it. */
struct instance {
    enum setup_role role;
    const char *suffix; /* "-in" */
    char *directory, *queue_directory, *data_directory;
    const char *name;  /* last part of the directory; borrowed from it */
    struct postfix *p; /* the present instance, or a new one as a copy of the default instance */
    bool is_new;
    bool is_known; /* postmulti(1) knows it */
    struct setup_edit edit;
};

/* Length of "$name", "${name}" or "$(name)" at this place; 0 if it is not there. */
static size_t reference_len(const char *at, const char *name)
{
    size_t len = strlen(name);

    if (at[0] != '$')
        return 0;
    if ((at[1] == '{' || at[1] == '(') && strncmp(at + 2, name, len) == 0 &&
        at[2 + len] == (at[1] == '{' ? '}' : ')'))
        return len + 3;
    if (strncmp(at + 1, name, len) == 0 && !ascii_is_alnum(at[1 + len]) && at[1 + len] != '_')
        return len + 1;
    return 0;
}

/* Copy a text and replace $config_directory and $myhostname by their values in the default
 * instance. */
static char *copy_text(const char *text, const struct postfix *p)
{
    const char *hostname = postfix_get_expanded(p, "myhostname");
    struct buf out = {0};

    while (*text != '\0') {
        size_t directory = reference_len(text, "config_directory");
        size_t host = reference_len(text, "myhostname");
        if (directory > 0)
            buf_adds(&out, p->directory);
        else if (host > 0)
            buf_adds(&out, hostname);
        else
            buf_addc(&out, *text);
        text += directory + host > 0 ? directory + host : 1;
    }
    return buf_take(&out);
}

/* Open the instance, or plan a new one as a copy of `from`. If the creation of an instance was
 * interrupted, the instance is made again: postmulti(1) does not know it, or its main.cf has
 * nothing but our part. */
static int open_instance(struct instance *i, const struct postfix *from, struct err *err)
{
    char *known = setup_known_instances(from->directory, err);
    enum setup_owner owner = SETUP_OWNER_NONE;

    if (known == NULL || setup_find_owner(from, i->directory, &owner, err) < 0) {
        free(known);
        return -1;
    }
    i->is_known = setup_is_known(known, i->directory);
    i->is_new = owner != SETUP_OWNER_WE || !i->is_known;
    free(known);
    if (owner == SETUP_OWNER_OTHER) {
        err_set(err, "%s: the directory exists, and is not ours", i->directory);
        return -1;
    }
    if (!i->is_new) {
        i->p = postfix_open(i->directory, err);
        bool is_seed = i->p != NULL && i->p->main_cf[0] == '\0' && from->main_cf[0] != '\0';
        if (!is_seed)
            return i->p == NULL ? -1 : 0;
        postfix_free(i->p);
        i->is_new = true;
    }
    char *main_cf = copy_text(from->main_cf, from), *master_cf = copy_text(from->master_cf, from);
    i->p = postfix_from_text(i->directory, main_cf, master_cf, err);
    free(main_cf);
    free(master_cf);
    return i->p == NULL ? -1 : 0;
}

static int find_instance(const struct postfix *from, enum setup_role role, const char *suffix,
                         struct instance *i, struct err *err)
{
    i->role = role;
    i->suffix = suffix;
    i->directory = setup_sibling(from->directory, suffix);
    i->queue_directory = setup_sibling(postfix_get_expanded(from, "queue_directory"), suffix);
    i->data_directory = setup_sibling(postfix_get_expanded(from, "data_directory"), suffix);
    i->name = strrchr(i->directory, '/') + 1;
    return open_instance(i, from, err);
}

static void clear_instance(struct instance *i)
{
    free(i->directory);
    free(i->queue_directory);
    free(i->data_directory);
    postfix_free(i->p);
    setup_edit_clear(&i->edit);
}

/* Set the name and directories of the instance. Its domains for mail are those of the default
 * instance. */
static void set_identity(const struct setup *s, const struct postfix *from, struct instance *i)
{
    static const char *const same[] = {"mydomain", "myorigin", "mydestination"};
    const char *given = i->role == SETUP_IN ? s->options->in_hostname : s->options->out_hostname;
    struct setup_edit *e = &i->edit;

    setup_set(e, "queue_directory", "%s", i->queue_directory);
    setup_set(e, "data_directory", "%s", i->data_directory);
    setup_set(e, "multi_instance_name", "%s", i->name);
    setup_set(e, "multi_instance_group", SETUP_GROUP);
    setup_set(e, "multi_instance_enable", "yes");
    setup_set(e, "multi_instance_wrapper", "%s", "");
    setup_set(e, "multi_instance_directories", "%s", "");
    setup_set(e, "authorized_submit_users", "%s", "");
    if (given[0] != '\0')
        setup_set(e, "myhostname", "%s", given);
    else
        setup_set(e, "myhostname", "%s.%s", i->suffix + 1,
                  postfix_get_expanded(from, "myhostname"));
    for (size_t k = 0; k < sizeof same / sizeof same[0]; k++)
        setup_set(e, same[k], "%s", postfix_get_expanded(from, same[k]));
    /* copy_text() has replaced $myhostname by the name of the default instance. A greeting with
     * that name would look like a loop, so the banner gets its original text again. */
    setup_set(e, "smtpd_banner", "%s", postfix_get(from, "smtpd_banner"));
    if (postfix_get(i->p, "master_service_disable")[0] != '\0')
        setup_set(e, "master_service_disable", "%s", "");
}

static int fill(const struct setup *s, const struct postfix *from, struct instance *i,
                struct err *err)
{
    char next[300] = "";

    if (i->role == SETUP_IN)
        setup_format_nexthop(&s->options->reinject, next, sizeof next);
    set_identity(s, from, i);
    return setup_role(s, i->role, i->p, i->queue_directory, next, &i->edit, err);
}

/* Make a directory for copies of the files in `other`, with a mode that is not wider than that of
 * `other`. */
static void make_like(const struct setup *s, const char *path, const char *other)
{
    struct stat st = {.st_mode = 0755};

    if (stat(other, &st) < 0)
        st.st_mode = 0700;
    steps_mkdir(s->steps, path, st.st_mode & 0755, st.st_uid, st.st_gid);
}

/* Make the instance known to postmulti(1). postmulti(1) writes main.cf of the default instance
 * again, and widens the modes in the directory of the new instance, so the step restores the
 * attributes of these files. */
static void make_known(const struct setup *s, const struct instance *i, const struct postfix *from)
{
    const char *create[] = {"postmulti", "-I", i->name, "-G", SETUP_GROUP, "-e", "create", NULL};
    char *default_main = mem_printf("%s/main.cf", from->directory);
    char *main_cf = mem_printf("%s/main.cf", i->directory);
    char *master_cf = mem_printf("%s/master.cf", i->directory);
    const char *files[] = {default_main, main_cf, master_cf, i->directory, NULL};

    steps_run_keeping(s->steps, files, create);
    free(default_main);
    free(main_cf);
    free(master_cf);
}

/* Write copies of the default instance's files with our part, and a backup of each without it. */
static void write_copies(const struct setup *s, const struct instance *i,
                         const struct postfix *from)
{
    static const char *const names[] = {"main.cf", "master.cf"};
    const char *const likes[] = {from->main_cf, from->master_cf};
    const char *const bases[] = {i->p->main_cf, i->p->master_cf};
    char *texts[] = {setup_main_cf(s, i->p, &i->edit), setup_master_cf(s, i->p, &i->edit)};

    /* main.cf comes last: in a directory without main.cf, the creation of the instance is not
     * complete. */
    for (int k = 1; k >= 0; k--) {
        char *path = mem_printf("%s/%s", i->directory, names[k]);
        char *original = mem_printf("%s/%s", from->directory, names[k]);
        char *backup = mem_printf("%s.before-split", path);
        if (i->is_known) /* postmulti(1) may have widened the mode of the present file */
            steps_unlink(s->steps, path);
        steps_write(s->steps, backup, bases[k], original, bases[k], names[k]);
        steps_write(s->steps, path, texts[k], original, likes[k], original);
        free(backup);
        free(original);
        free(path);
        free(texts[k]);
    }
}

/* Write files that have only our part, so that a later call recognises the directory as ours. */
static void write_seed(const struct setup *s, const struct instance *i, const struct postfix *from)
{
    static const char *const names[] = {"main.cf", "master.cf"};
    struct postfix empty = {.main_cf = (char *)"", .master_cf = (char *)""};
    char *texts[] = {setup_main_cf(s, &empty, &i->edit), setup_master_cf(s, &empty, &i->edit)};

    for (int k = 0; k < 2; k++) {
        char *path = mem_printf("%s/%s", i->directory, names[k]);
        char *original = mem_printf("%s/%s", from->directory, names[k]);
        steps_write(s->steps, path, texts[k], original, NULL, NULL);
        free(original);
        free(path);
        free(texts[k]);
    }
}

/* Return true if main.cf or master.cf is not readable for all users. */
static bool is_hidden(const struct postfix *p)
{
    static const char *const names[] = {"main.cf", "master.cf"};
    bool is = false;

    for (int k = 0; k < 2; k++) {
        char *path = mem_printf("%s/%s", p->directory, names[k]);
        struct stat st;
        is |= stat(path, &st) < 0 || (st.st_mode & 044) != 044;
        free(path);
    }
    return is;
}

/* postmulti(1) makes main.cf and master.cf of a new instance readable for all users for a moment.
 * If the originals are not readable for all users, the copies are written after postmulti(1) has
 * run. */
static void write_new(const struct setup *s, const struct instance *i, const struct postfix *from)
{
    const struct passwd *user = getpwnam(postfix_get_expanded(from, "mail_owner"));

    make_like(s, i->directory, from->directory);
    bool is_later = !i->is_known && is_hidden(from);
    if (is_later)
        write_seed(s, i, from);
    else
        write_copies(s, i, from);
    setup_write_files(s, i->directory, &i->edit);
    steps_mkdir(s->steps, i->queue_directory, 0755, 0, 0);
    steps_mkdir(s->steps, i->data_directory, 0700, user == NULL ? 0 : user->pw_uid,
                user == NULL ? 0 : user->pw_gid);
    if (!i->is_known)
        make_known(s, i, from);
    if (is_later)
        write_copies(s, i, from);
}

static void write_instance(const struct setup *s, const struct instance *i,
                           const struct postfix *from)
{
    if (i->is_new)
        write_new(s, i, from);
    else
        setup_write_instance(s, i->p, &i->edit);
}

/* Run Debian's script that copies the files which chrooted services need. systemd runs it, too.
 * From Debian 13 on postfix(1) runs it, and no other program may run it. */
static void fill_chroot(const struct setup *s, const struct instance *i)
{
    const char *argv[] = {CHROOT_SCRIPT, i->name, NULL};

    if (i->is_new && setup_has_generator() && access(CHROOT_SCRIPT, X_OK) == 0)
        steps_run(s->steps, argv);
}

/* Write the files of the default instance. known: the instances that postmulti(1) knows;
 * postmulti(1) adds ours. */
static void write_client(const struct setup *s, const struct postfix *p, const char *known)
{
    struct setup_edit e = {0};
    struct err err;
    char next[300];
    const char *group = postfix_get(p, "multi_instance_group");

    setup_format_nexthop(&s->options->local, next, sizeof next);
    if (setup_role(s, SETUP_CLIENT, p, "", next, &e, &err) < 0)
        abort(); /* this role cannot fail */
    setup_set(&e, "multi_instance_group", "%s", group[0] == '\0' ? SETUP_GROUP : group);
    setup_set(&e, MARKED_SHARED, "%s", known);
    setup_write_instance(s, p, &e);
    setup_edit_clear(&e);
}

/* Add steps that check the instances, and, if the default instance runs, start or reload them.
 * Instances that run are reloaded, because a restart would interrupt deliveries. Only if one of the
 * two new instances does not run, and systemd runs, systemd restarts all instances. */
static void start_all(const struct setup *s, const struct postfix *p,
                      const struct instance *instances)
{
    const char *const directories[] = {instances[0].directory, instances[1].directory, NULL};
    bool is_running[2];

    setup_postfix_command(s, p->directory, "check");
    for (int i = 0; i < 2; i++) {
        setup_postfix_command(s, instances[i].directory, "check");
        is_running[i] = !instances[i].is_new && postfix_is_running(instances[i].directory);
    }
    if (!postfix_is_running(p->directory) ||
        (!(is_running[0] && is_running[1]) && setup_restart_all(s, directories)))
        return;
    setup_postfix_command(s, p->directory, "reload");
    for (int i = 0; i < 2; i++)
        setup_postfix_command(s, instances[i].directory, is_running[i] ? "reload" : "start");
}

static int check_default(const struct setup *s, struct err *err)
{
    char *directory = postfix_default_directory(err);
    bool is_default = directory != NULL && strcmp(directory, s->options->directory) == 0;

    if (directory != NULL && !is_default)
        err_set(err, "postmulti(1) works with the default instance, %s, only", directory);
    free(directory);
    return is_default ? 0 : -1;
}

/* Start the instances if an earlier call was interrupted after it had written their files. */
static void start_stopped(const struct setup *s, const struct postfix *p,
                          const struct instance *instances)
{
    const char *const directories[] = {instances[0].directory, instances[1].directory, NULL};
    bool is_running[2];

    if (!postfix_is_running(p->directory))
        return;
    for (int i = 0; i < 2; i++)
        is_running[i] = postfix_is_running(instances[i].directory);
    if ((is_running[0] && is_running[1]) || setup_restart_all(s, directories))
        return;
    for (int i = 0; i < 2; i++)
        if (!is_running[i])
            setup_postfix_command(s, instances[i].directory, "start");
}

static int plan(struct setup *s, const struct postfix *p, struct instance *instances,
                struct err *err)
{
    if (find_instance(p, SETUP_OUT, "-out", &instances[0], err) < 0 ||
        find_instance(p, SETUP_IN, "-in", &instances[1], err) < 0 ||
        setup_check(s, SETUP_CLIENT, p, err) < 0)
        return -1;
    for (int i = 0; i < 2; i++)
        if (setup_check(s, instances[i].role, instances[i].p, err) < 0 ||
            fill(s, p, &instances[i], err) < 0 ||
            setup_review(s, instances[i].p, &instances[i].edit, err) < 0)
            return -1;
    s->makes_instances = instances[0].is_new || instances[1].is_new;
    char *known = setup_known_instances(p->directory, err);
    if (known == NULL)
        return -1;
    write_client(s, p, known);
    free(known);
    for (int i = 0; i < 2; i++)
        write_instance(s, &instances[i], p);
    for (int i = 0; i < 2; i++)
        fill_chroot(s, &instances[i]);
    if (setup_socket_directory(s, &s->config->milter, instances[1].queue_directory, err) < 0 ||
        setup_socket_directory(s, setup_after(s), instances[0].queue_directory, err) < 0)
        return -1;
    if (steps_has_changes(s->steps))
        start_all(s, p, instances);
    else
        start_stopped(s, p, instances);
    for (int i = 0; i < 2; i++)
        setup_enable_instance(s, instances[i].directory, true);
    setup_remarks(s, SETUP_IN, instances[1].p);
    return 0;
}

int setup_plan_multi(struct setup *s, struct err *err)
{
    struct instance instances[2] = {0};

    if (check_default(s, err) < 0)
        return -1;
    struct postfix *p = postfix_open(s->options->directory, err);
    if (p == NULL)
        return -1;
    int rc = plan(s, p, instances, err);
    for (int i = 0; i < 2; i++)
        clear_instance(&instances[i]);
    postfix_free(p);
    return rc;
}
