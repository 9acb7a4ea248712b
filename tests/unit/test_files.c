/* SPDX-License-Identifier: ISC */
#include "ctl/setup/files.h"
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define ACL "system.posix_acl_access"
#define DEFAULT_ACL "system.posix_acl_default"

enum { STRANGER = 65534, ROUNDS = 400 };

static char directory[64];
static struct err err;

static const char *at(const char *name)
{
    static char paths[8][200];
    static unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static void setup(void)
{
    snprintf(directory, sizeof directory, "/tmp/test_files-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(directory));
    umask(022);
}

static void teardown(void)
{
    ck_assert_int_eq(files_remove_tree(directory, &err), 0);
}

static void make(const char *name, const char *content, mode_t mode)
{
    FILE *f = fopen(at(name), "w");

    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs(content, f), 0);
    ck_assert_int_eq(fclose(f), 0);
    ck_assert_int_eq(chmod(at(name), mode), 0);
}

static struct stat look(const char *name)
{
    struct stat st = {0};

    ck_assert_int_eq(lstat(at(name), &st), 0);
    return st;
}

/* Set an acl(5) in the kernel's form: version 2, then entries of tag, permissions, id. False: the
 * file system does not support it. */
static bool set_acl(const char *path, const char *name, uint16_t owner, uint16_t user,
                    uint16_t mask)
{
    const struct {
        uint32_t version;
        struct {
            uint16_t tag, permissions;
            uint32_t id;
        } entries[5];
    } acl = {2,
             {{0x01, owner, UINT32_MAX},
              {0x02, user, STRANGER},
              {0x04, 0, UINT32_MAX},
              {0x10, mask, UINT32_MAX},
              {0x20, 0, UINT32_MAX}}};

    return setxattr(path, name, &acl, sizeof acl, 0) == 0;
}

START_TEST(a_file_keeps_what_it_was)
{
    make("main.cf", "old\n", 0600);
    bool has_acl = set_acl(at("main.cf"), ACL, 6, 4, 4);
    if (geteuid() == 0)
        ck_assert_int_eq(chown(at("main.cf"), STRANGER, STRANGER), 0);
    struct stat before = look("main.cf");
    ck_assert_int_eq(files_write(at("main.cf"), "new\n", NULL, &err), 0);
    struct stat after = look("main.cf");
    ck_assert_uint_ne(before.st_ino, after.st_ino);
    ck_assert_uint_eq(after.st_mode, before.st_mode);
    ck_assert_uint_eq(after.st_uid, before.st_uid);
    ck_assert_uint_eq(after.st_gid, before.st_gid);
    if (has_acl)
        ck_assert_int_gt(getxattr(at("main.cf"), ACL, NULL, 0), 0);
    else
        ck_assert_int_eq(after.st_mode & 07777, 0600);
}
END_TEST

START_TEST(a_copy_is_not_wider_than_what_it_is_made_of)
{
    make("main.cf", "secret\n", 0600);
    struct files_attributes *a = files_attributes_get(at("main.cf"));
    ck_assert_ptr_nonnull(a);
    ck_assert_int_eq(files_write(at("copy"), "secret\n", a, &err), 0);
    ck_assert_int_eq(look("copy").st_mode & 07777, 0600);
    ck_assert_uint_eq(files_attributes_umask(a), 066);
    files_attributes_free(a);
    ck_assert_int_eq(files_write(at("other"), "x\n", NULL, &err), 0);
    ck_assert_int_eq(look("other").st_mode & 07777, 0644);
    ck_assert_uint_eq(files_attributes_umask(NULL), 022);
    ck_assert_ptr_null(files_attributes_get(at("absent")));
}
END_TEST

/* The default ACL of a directory must not let other users read a file that is replaced. */
START_TEST(defaults_of_a_directory_do_not_count)
{
    make("main.cf", "secret\n", 0640);
    if (!set_acl(directory, DEFAULT_ACL, 7, 7, 7))
        return; /* the file system has no ACLs */
    ck_assert_int_eq(files_write(at("main.cf"), "secret\n", NULL, &err), 0);
    ck_assert_int_lt(getxattr(at("main.cf"), ACL, NULL, 0), 0);
    ck_assert_int_eq(look("main.cf").st_mode & 07777, 0640);
}
END_TEST

START_TEST(links_of_others_are_not_followed)
{
    ck_assert_int_eq(mkdir(at("victim"), 0755), 0);
    make("victim/file", "x", 0644);
    ck_assert_int_eq(symlink("victim", at("ours")), 0);
    ck_assert_int_eq(files_mkdir(at("ours/made"), 02750, getuid(), getgid(), &err), 0);
    ck_assert_int_eq(look("victim/made").st_mode & 07777, 02750);
    ck_assert_int_eq(files_rmdir(at("ours/made"), &err), 0);
    ck_assert_int_eq(files_rmdir(at("ours/made"), &err), 0); /* absent */
    ck_assert_int_eq(files_rmdir(at("victim"), &err), 0);    /* not empty */
    ck_assert_uint_eq(files_count(at("victim")), 1);
    /* At the end of a path no link is followed. */
    ck_assert_int_eq(symlink("victim", at("link")), 0);
    ck_assert_int_eq(files_remove_tree(at("link"), &err), 0);
    ck_assert_uint_eq(files_count(at("victim")), 1);
    if (geteuid() != 0)
        return;
    ck_assert_int_eq(symlink(at("victim"), at("theirs")), 0);
    ck_assert_int_eq(lchown(at("theirs"), STRANGER, STRANGER), 0);
    ck_assert_int_eq(files_mkdir(at("theirs/made"), 0755, 0, 0, &err), -1);
    ck_assert_ptr_nonnull(strstr(err.text, strerror(ELOOP)));
    ck_assert_int_eq(files_unlink(at("theirs/file"), &err), -1);
    ck_assert_int_eq(files_remove_tree(at("theirs/file"), &err), -1);
    ck_assert_uint_eq(files_count(at("theirs/file")), 0);
    ck_assert_uint_eq(files_count(at("victim")), 1);
}
END_TEST

static atomic_bool is_done;

static char exchanged[2][200]; /* two paths */

/* Exchange a directory and a link to another one, again and again. */
static void *exchange(void *unused)
{
    (void)unused;
    while (!atomic_load(&is_done))
        (void)renameat2(AT_FDCWD, exchanged[0], AT_FDCWD, exchanged[1], RENAME_EXCHANGE);
    return NULL;
}

START_TEST(nobody_leads_a_removal_elsewhere)
{
    ck_assert_int_eq(mkdir(at("victim"), 0755), 0);
    make("victim/file", "x", 0644);
    snprintf(exchanged[0], sizeof exchanged[0], "%s", at("tree/x"));
    snprintf(exchanged[1], sizeof exchanged[1], "%s", at("tree/y"));
    for (int i = 0; i < ROUNDS; i++) {
        pthread_t thread;
        ck_assert_int_eq(mkdir(at("tree"), 0755), 0);
        ck_assert_int_eq(mkdir(at("tree/x"), 0755), 0);
        make("tree/x/file", "x", 0644);
        ck_assert_int_eq(symlink("../victim", at("tree/y")), 0);
        atomic_store(&is_done, false);
        ck_assert_int_eq(pthread_create(&thread, NULL, exchange, NULL), 0);
        for (int k = 0; k < 100 && files_remove_tree(at("tree"), &err) < 0; k++)
            continue;
        atomic_store(&is_done, true);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_int_eq(files_remove_tree(at("tree"), &err), 0);
        ck_assert_int_eq(access(at("victim/file"), F_OK), 0);
    }
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("files");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 120); /* ROUNDS on a busy disk */
    tcase_add_test(tests, a_file_keeps_what_it_was);
    tcase_add_test(tests, a_copy_is_not_wider_than_what_it_is_made_of);
    tcase_add_test(tests, defaults_of_a_directory_do_not_count);
    tcase_add_test(tests, links_of_others_are_not_followed);
    tcase_add_test(tests, nobody_leads_a_removal_elsewhere);
    return unit_run("files", tests);
}
