/* SPDX-License-Identifier: ISC */
/* Tables in files: compiled ones, damaged ones, ones that change; and socketmaps whose server
 * misbehaves. */
#include "table/table_private.h"
#include "base/mem.h"
#include "task/task.h"
#include "unit.h"

#ifdef HAVE_CDB
#include <cdb.h>
#endif
#ifdef HAVE_LMDB
#include <lmdb.h>
#endif

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static char directory[] = "/tmp/test_table_files.XXXXXX";

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(strcpy(directory, "/tmp/test_table_files.XXXXXX")));
}

static void teardown(void)
{
    static const char *const names[] = {"t", "u", "t.lmdb", "t.cdb", "t.db", "socket"};
    char path[128];

    for (size_t i = 0; i < UNIT_COUNT(names); i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names[i]);
        unlink(path);
    }
    ck_assert_int_eq(rmdir(directory), 0);
}

static char *path_of(const char *name)
{
    return mem_printf("%s/%s", directory, name);
}

static void write_file(const char *name, const void *data, size_t len)
{
    char *path = path_of(name);
    FILE *f = fopen(path, "wb");

    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(data, 1, len, f), len);
    ck_assert_int_eq(fclose(f), 0);
    free(path);
}

static struct table *open_table(const char *type, struct err *err)
{
    char *spec = mem_printf("%s:%s/t", type, directory);
    struct table *t = table_open(spec, err);

    free(spec);
    return t;
}

/* Look up a key: "VALUE", "-" if there is none, "!" and the reason if it fails. The caller frees
 * it. */
static char *ask(const struct table *t, const char *key)
{
    struct table_scratch *s = table_scratch_new();
    struct table_match m;
    struct err err = {"of another look-up"};
    char *answer = NULL;

    table_match_init(&m);
    switch (table_find(t, s, key, &m, &err)) {
    case TABLE_FOUND:
        ck_assert_str_eq(err.text, "");
        answer = mem_strdup(buf_str(&m.value));
        break;
    case TABLE_NOT_FOUND:
        ck_assert_str_eq(err.text, "");
        answer = mem_strdup("-");
        break;
    case TABLE_FAILED:
    case TABLE_LIMIT:
        ck_assert_str_ne(err.text, "");
        answer = mem_printf("!%s", err.text);
        break;
    }
    table_match_clear(&m);
    table_scratch_free(s);
    return answer;
}

static void expect(const struct table *t, const char *key, const char *answer)
{
    char *got = ask(t, key);

    ck_assert_msg(answer[0] == '!' ? got[0] == '!' && strstr(got, answer + 1) != NULL
                                   : strcmp(got, answer) == 0,
                  "%s: %s instead of %s", key, got, answer);
    free(got);
}

/* --- compiled tables ------------------------------------------------------------------------ */

struct record {
    const char *key;
    size_t key_len;
    const char *value;
    size_t value_len;
};

static const struct record records[] = {{"with@x", 7, "nul", 4},
                                        {"without@x", 9, "none", 4},
                                        {"inside", 6, "a\0b", 3},
                                        {"bad", 3, "\xff", 1}};

static int count_values(const char *key, const char *value, unsigned line, void *ctx)
{
    ck_assert_uint_eq(line, 0);
    ck_assert_str_ne(key, "");
    ck_assert_str_ne(value, "");
    ++*(unsigned *)ctx;
    return 0;
}

static void check_records(const char *type)
{
    struct err err = {""};
    struct table *t = open_table(type, &err);
    unsigned count = 0;

    ck_assert_msg(t != NULL, "%s", err.text);
    expect(t, "with@x", "nul");
    expect(t, "without@x", "none");
    expect(t, "inside", "a");
    expect(t, "bad", "!is not UTF-8");
    expect(t, "missing", "-");
    expect(t, "", "-");
    char *long_key = mem_zalloc(2001);
    expect(t, memset(long_key, 'x', 2000), "-");
    free(long_key);
    ck_assert_int_eq(table_each_value(t, count_values, &count), 0);
    ck_assert_uint_eq(count, UNIT_COUNT(records));
    ck_assert(!table_takes_whole_address(t));
    char *source = table_source_path(t), *expected = path_of("t");
    ck_assert_str_eq(source, expected);
    free(source);
    free(expected);
    table_close(t);
}

/* A file that was truncated to any length is refused. */
static void check_cut_off(const char *type, const char *name)
{
    char *path = path_of(name);
    static char whole[1 << 20];
    FILE *f = fopen(path, "rb");
    size_t len = fread(whole, 1, sizeof whole, f);

    fclose(f);
    for (size_t cut = 0; cut < len; cut += 1 + len / 200) {
        struct err err = {""};
        write_file(name, whole, cut);
        struct table *t = open_table(type, &err);
        ck_assert_msg(t == NULL, "%zu of %zu bytes are taken", cut, len);
        ck_assert_msg(strstr(err.text, path) != NULL, "%s", err.text);
    }
    free(path);
}

/* A change of the file does not affect an open table, which has its own copy. */
static void check_independence(const char *type, const char *name)
{
    struct err err = {""};
    struct table *t = open_table(type, &err);
    char *path = path_of(name);

    ck_assert_msg(t != NULL, "%s", err.text);
    ck_assert_int_eq(truncate(path, 10), 0);
    expect(t, "with@x", "nul");
    ck_assert_int_eq(unlink(path), 0);
    expect(t, "without@x", "none");
    table_close(t);
    ck_assert_ptr_null(open_table(type, &err));
    ck_assert_msg(strstr(err.text, "No such file") != NULL, "%s", err.text);
    free(path);
}

#ifdef HAVE_LMDB
static void make_lmdb(void)
{
    char *path = path_of("t.lmdb");
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;

    ck_assert_int_eq(mdb_env_create(&env), 0);
    ck_assert_int_eq(mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOLOCK, 0600), 0);
    ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
    ck_assert_int_eq(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
    for (size_t i = 0; i < UNIT_COUNT(records); i++) {
        MDB_val k = {.mv_data = (void *)records[i].key, .mv_size = records[i].key_len};
        MDB_val v = {.mv_data = (void *)records[i].value, .mv_size = records[i].value_len};
        ck_assert_int_eq(mdb_put(txn, dbi, &k, &v, 0), 0);
    }
    ck_assert_int_eq(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    free(path);
}

START_TEST(lmdb_is_read)
{
    make_lmdb();
    check_records("lmdb");
    check_independence("lmdb", "t.lmdb");
    make_lmdb();
    check_cut_off("lmdb", "t.lmdb");
}
END_TEST
#endif

#ifdef HAVE_CDB
static void make_cdb(void)
{
    char *path = path_of("t.cdb");
    struct cdb_make maker;
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    ck_assert_int_eq(cdb_make_start(&maker, fd), 0);
    for (size_t i = 0; i < UNIT_COUNT(records); i++)
        ck_assert_int_eq(cdb_make_add(&maker, records[i].key, (unsigned)records[i].key_len,
                                      records[i].value, (unsigned)records[i].value_len),
                         0);
    ck_assert_int_eq(cdb_make_finish(&maker), 0);
    close(fd);
    free(path);
}

START_TEST(cdb_is_read)
{
    make_cdb();
    check_records("cdb");
    check_independence("cdb", "t.cdb");
    make_cdb();
    check_cut_off("cdb", "t.cdb");
}
END_TEST
#endif

#if defined(HAVE_LMDB) && defined(HAVE_CDB)
struct note {
    char path[128], text[256];
    unsigned count;
};

static void take_note(void *ctx, const char *path, unsigned line, const char *text)
{
    struct note *note = ctx;

    ck_assert_uint_eq(line, 0);
    snprintf(note->path, sizeof note->path, "%s", path);
    snprintf(note->text, sizeof note->text, "%s", text);
    note->count++;
}

/* Open "TYPE:DIRECTORY/t", which is read from the file t.SUBSTITUTE, with a note. */
static void expect_substitute(const char *type, const char *substitute)
{
    struct note note = {.count = 0};
    const struct table_faults faults = {take_note, &note};
    struct err err = {""};
    char *spec = mem_printf("%s:%s/t", type, directory), *file = mem_printf("t.%s", substitute);
    char *path = path_of(file), *source = path_of("t");
    char *text = mem_printf("is read for %s: write %s:%s", spec, substitute, source);
    struct table *t = table_open_reporting(spec, &faults, &err);

    ck_assert_msg(t != NULL, "%s", err.text);
    expect(t, records[0].key, records[0].value);
    ck_assert_uint_eq(note.count, 1);
    ck_assert_str_eq(note.path, path);
    ck_assert_str_eq(note.text, text);
    ck_assert_str_eq(table_spec(t), spec);
    ck_assert_str_eq(table_path(t), path);
    char *found = table_source_path(t);
    ck_assert_str_eq(found, source);
    free(found);
    table_close(t);
    free(text);
    free(source);
    free(path);
    free(file);
    free(spec);
}

static void expect_no_substitute(void)
{
    struct err err = {""};

    ck_assert_ptr_null(open_table("hash", &err));
    ck_assert_msg(strstr(err.text, "Berkeley DB tables are not read") != NULL, "%s", err.text);
}

START_TEST(berkeley_db_has_a_substitute)
{
    expect_no_substitute();
    make_lmdb();
    expect_substitute("hash", "lmdb");
    expect_substitute("btree", "lmdb");
    expect_substitute("proxy:hash", "lmdb");
    make_cdb();
    expect_no_substitute(); /* which of the two? */
    char *path = path_of("t.lmdb");
    unlink(path);
    free(path);
    expect_substitute("hash", "cdb");
    write_file("t.db", "", 0); /* Postfix may read this one */
    expect_no_substitute();
}
END_TEST
#endif

/* --- changes -------------------------------------------------------------------------------- */

START_TEST(changes_show)
{
    struct err err = {""};
    char *path = path_of("t"), *other = path_of("u");

    write_file("t", "a b\n", 4);
    struct table *hot = open_table("texthash", &err);
    struct table_stamp now = table_stamp_of(path);
    ck_assert(!table_is_current(hot, &now)); /* the file was written just now */
    table_close(hot);
    /* Wait until the file's time is certainly in the past. */
    struct table *t = NULL;
    for (int i = 0; i < 200 && (t == NULL || !table_is_current(t, &now)); i++) {
        table_close(t);
        usleep(10000);
        t = open_table("texthash", &err);
        ck_assert_ptr_nonnull(t);
    }
    ck_assert(table_is_current(t, &now));
    write_file("t", "a c\n", 4); /* the same size */
    now = table_stamp_of(path);
    ck_assert(!table_is_current(t, &now));
    write_file("u", "a b\n", 4);
    ck_assert_int_eq(rename(other, path), 0);
    now = table_stamp_of(path);
    ck_assert(!table_is_current(t, &now));
    unlink(path);
    now = table_stamp_of(path);
    ck_assert(!now.exists && !table_is_current(t, &now));
    struct table *same = table_ref(t);
    table_close(t);
    expect(same, "a", "b");
    table_close(same);
    free(path);
    free(other);
}
END_TEST

/* --- socketmap ------------------------------------------------------------------------------ */

/* A server that answers each connection with the next script: '\1' waits for a request, '\2' for
 * the end of the connection; the rest is sent as it is. */
struct server {
    int listener;
    unsigned port;
    const char *const *scripts;
    size_t count;
    atomic_size_t ended; /* connections that the server has closed */
    pthread_t thread;
};

/* Read one netstring. False at the end of the connection. */
static bool read_request(int fd)
{
    char c = '\0';
    size_t len = 0;

    while (read(fd, &c, 1) == 1 && c >= '0' && c <= '9')
        len = len * 10 + (size_t)(c - '0');
    if (c != ':')
        return false;
    for (len++; len > 0 && read(fd, &c, 1) == 1; len--)
        ;
    return len == 0;
}

static void *serve(void *arg)
{
    struct server *s = arg;
    char c;

    for (size_t i = 0; i < s->count; i++) {
        int fd = accept(s->listener, NULL, NULL);
        if (fd < 0)
            break; /* stop() */
        bool ok = true;
        for (const char *p = s->scripts[i]; ok && *p != '\0'; p++) {
            if (*p == '\1')
                ok = read_request(fd);
            else if (*p == '\2')
                ok = read(fd, &c, 1) == 1;
            else
                ok = send(fd, p, 1, MSG_NOSIGNAL) == 1;
        }
        close(fd);
        atomic_fetch_add(&s->ended, 1);
    }
    return NULL;
}

static void start_at(struct server *s, const struct sockaddr *sa, socklen_t len,
                     const char *const *scripts, size_t count)
{
    *s = (struct server){
        .listener = socket(sa->sa_family, SOCK_STREAM, 0), .scripts = scripts, .count = count};
    ck_assert_int_eq(bind(s->listener, sa, len), 0);
    ck_assert_int_eq(listen(s->listener, 5), 0);
    ck_assert_int_eq(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void start(struct server *s, const char *const *scripts, size_t count)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;

    start_at(s, (struct sockaddr *)&sa, len, scripts, count);
    ck_assert_int_eq(getsockname(s->listener, (struct sockaddr *)&sa, &len), 0);
    s->port = ntohs(sa.sin_port);
}

/* End the server, also if it still waits for a connection. Checks that all scripts were used. */
static void stop(struct server *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
    ck_assert_uint_eq(atomic_load(&s->ended), s->count);
}

static struct table *socketmap_on(unsigned port)
{
    struct err err = {""};
    char *spec = mem_printf("socketmap:inet:127.0.0.1:%u:map", port);
    struct table *t = table_open(spec, &err);

    ck_assert_msg(t != NULL, "%s", err.text);
    ck_assert(table_takes_whole_address(t) && table_asks_server(t) && table_path(t) == NULL);
    free(spec);
    return t;
}

static const struct {
    const char *script, *answer;
} replies[] = {
    {"\1"
     "8:OK value,",
     "value"},
    {"\1"
     "8:OK value,\1"
     "5:OK v2,\2",
     "value"},
    {"\1"
     "3:OK ,",
     ""},
    {"\1"
     "2:OK,",
     "-"},
    {"\1"
     "008:OK value,",
     "value"},
    {"\1"
     "9:NOTFOUND ,",
     "-"},
    {"\1"
     "8:NOTFOUND,",
     "-"},
    {"\1"
     "9:TEMP busy,",
     "!answered \"TEMP busy\""},
    {"\1"
     "7:PERM no,",
     "!answered \"PERM no\""},
    {"\1"
     "8:TIMEOUT ,",
     "!answered \"TIMEOUT \""},
    {"\1"
     "5:OKAY ,",
     "!answered \"OKAY \""},
    {"\1"
     "0:,",
     "!answered \"\""},
    {"\1"
     "4:OK \xff,",
     "!is not UTF-8"},
    {"\1"
     "4:OK v;",
     "!no comma at its end"},
    {"\1"
     "OK value\n",
     "!bad length"},
    {"\1"
     ":x,",
     "!bad length"},
    {"\1"
     "-1:x,",
     "!bad length"},
    {"\1"
     "100001:",
     "!too long"},
    {"\1"
     "99999999999999999999999999:",
     "!too long"},
    {"\1"
     "000000000000000000000000:",
     "!too long"},
};

START_TEST(socketmap_understands)
{
    struct server s;
    const char *scripts[] = {replies[_i].script};

    start(&s, scripts, 1);
    struct table *t = socketmap_on(s.port);
    expect(t, "key@x", replies[_i].answer);
    table_close(t);
    stop(&s);
}
END_TEST

START_TEST(socketmap_keeps_no_connection_when_no_time_is_left)
{
    const char *scripts[] = {"\1"
                             "8:OK value,\2"};
    struct server s;

    start(&s, scripts, 1);
    struct table *t = socketmap_on(s.port);
    expect(t, "key@x", "value");
    table_set_timeout(t, 0);
    expect(t, "key@x", "!no time is left");
    table_close(t);
    stop(&s); /* waits for the end of the connection */
}
END_TEST

START_TEST(socketmap_reconnects_once)
{
    static const char *const scripts[] = {"\1"
                                          "4:OK a,\1"
                                          "4:OK b,\1",
                                          "\1"
                                          "4:OK c,\1",
                                          "\1"
                                          "8:OK va"};
    struct server s;

    start(&s, scripts, UNIT_COUNT(scripts));
    struct table *t = socketmap_on(s.port);
    expect(t, "1", "a");
    expect(t, "2", "b");                /* the same connection */
    expect(t, "3", "c");                /* the connection breaks, and another one is used */
    expect(t, "4", "!lost connection"); /* two connections break */
    stop(&s);
    expect(t, "5", "!cannot connect: Connection refused");
    table_close(t);
}
END_TEST

/* A kept connection that the server has closed is not used, so it does not count as one that
 * breaks. The test uses a unix socket, because only there the end of a connection is seen at once.
 */
START_TEST(socketmap_leaves_what_was_closed)
{
    static const char *const scripts[] = {"\1"
                                          "4:OK a,",
                                          "\1",
                                          "\1"
                                          "4:OK b,\2"};
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    struct err err = {""};
    struct server s;
    char *path = path_of("socket"), *spec = mem_printf("socketmap:unix:%s:map", path);

    ck_assert_uint_lt(strlen(path), sizeof sa.sun_path);
    strcpy(sa.sun_path, path);
    start_at(&s, (struct sockaddr *)&sa, sizeof sa, scripts, UNIT_COUNT(scripts));
    struct table *t = table_open(spec, &err);
    ck_assert_msg(t != NULL, "%s", err.text);
    expect(t, "1", "a");
    for (int i = 0; i < 3000 && atomic_load(&s.ended) == 0; i++)
        usleep(10000);
    ck_assert_uint_eq(atomic_load(&s.ended), 1);
    expect(t, "2", "b");
    table_close(t);
    stop(&s);
    free(spec);
    free(path);
}
END_TEST

START_TEST(socketmap_does_not_wait_for_ever)
{
    static const char *const scripts[] = {"\1\2"};
    struct server s;

    start(&s, scripts, UNIT_COUNT(scripts));
    struct table *t = socketmap_on(s.port);
    expect(t, "1", "!timed out");
    table_close(t);
    stop(&s);
}
END_TEST

struct asking {
    struct table *table;
    const char *answer;
};

static void ask_in_task(void *arg)
{
    const struct asking *a = arg;

    expect(a->table, "key@x", a->answer);
}

/* Tasks of different threads use the same connection. (Look-ups run in task_block(), which calls
 * them in the task itself if it gets no thread.) */
START_TEST(socketmap_is_asked_by_all_threads)
{
    static const char *const scripts[] = {"\1"
                                          "4:OK a,\1"
                                          "4:OK b,\1"
                                          "4:OK c,"};
    struct err err = {""};
    struct server s;

    start(&s, scripts, UNIT_COUNT(scripts));
    struct table *t = socketmap_on(s.port);
    struct asking asking[] = {{t, "a"}, {t, "b"}};
    for (size_t i = 0; i < UNIT_COUNT(asking); i++) {
        struct task_pool *pool = task_pool_new(1, NULL, &err);
        ck_assert_msg(pool != NULL, "%s", err.text);
        ck_assert_int_eq(task_start(pool, ask_in_task, &asking[i]), 0);
        task_pool_free(pool);
    }
    expect(t, "key@x", "c");
    table_close(t);
    stop(&s);
}
END_TEST

static const char *const bad_socketmaps[] = {
    "socketmap:inet:host:25",     "socketmap:inet::25:name", "socketmap:unix:path:name",
    "socketmap:tcp:host:1:name",  "socketmap:name",          "socketmap:inet:[::1]:name",
    "socketmap:inet:host:x:name", "socketmap:inet:host:1:",
};

START_TEST(socketmap_server_is_checked)
{
    struct err err = {""};

    ck_assert_msg(table_open(bad_socketmaps[_i], &err) == NULL, "%s", bad_socketmaps[_i]);
    ck_assert_msg(strstr(err.text, "socketmap:inet:host:port:name") != NULL, "%s", err.text);
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("table_files");

    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_set_timeout(tests, 40);
#ifdef HAVE_LMDB
    tcase_add_test(tests, lmdb_is_read);
#endif
#ifdef HAVE_CDB
    tcase_add_test(tests, cdb_is_read);
#endif
#if defined(HAVE_LMDB) && defined(HAVE_CDB)
    tcase_add_test(tests, berkeley_db_has_a_substitute);
#endif
    tcase_add_test(tests, changes_show);
    tcase_add_loop_test(tests, socketmap_understands, 0, (int)UNIT_COUNT(replies));
    tcase_add_test(tests, socketmap_keeps_no_connection_when_no_time_is_left);
    tcase_add_test(tests, socketmap_reconnects_once);
    tcase_add_test(tests, socketmap_leaves_what_was_closed);
    tcase_add_test(tests, socketmap_is_asked_by_all_threads);
    tcase_add_test(tests, socketmap_does_not_wait_for_ever);
    tcase_add_loop_test(tests, socketmap_server_is_checked, 0, (int)UNIT_COUNT(bad_socketmaps));
    return unit_run("table_files", tests);
}
