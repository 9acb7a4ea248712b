/* SPDX-License-Identifier: ISC */
#include "deliver/maildir.h"
#include "base/mem.h"
#include "deliver/maildir_file.h"
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char nothing[] = "";

struct setup {
    char top[64]; /* the directory of this test */
    struct endpoint endpoint;
    struct config_destination destination;
    struct queue_recipient recipients[2];
    struct queue_copy copy;
    struct outcome outcomes[2];
    struct outcome_report report;
    struct transport *transport;
};

static void set_content(struct setup *s, const void *content, size_t len)
{
    if (s->copy.content_fd != -1)
        close(s->copy.content_fd);
    s->copy.content_fd = memfd_create("copy", MFD_CLOEXEC);
    ck_assert_int_ne(s->copy.content_fd, -1);
    ck_assert_int_eq(write(s->copy.content_fd, content, len), (ssize_t)len);
    s->copy.message.size_bytes = len;
}

static void setup_init(struct setup *s, const char *path)
{
    memset(s, 0, sizeof *s);
    /* In memory where there is such a directory: some of the tests sync a thousand times. */
    snprintf(s->top, sizeof s->top, "%s/test_maildir.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(s->top));
    s->endpoint.kind = ENDPOINT_MAILDIR;
    snprintf(s->endpoint.path, sizeof s->endpoint.path, "%s/%s", s->top, path);
    s->destination = (struct config_destination){.relay_to = &s->endpoint,
                                                 .relay_to_count = 1,
                                                 .journal_from = nothing,
                                                 .recipient_address = nothing,
                                                 .sender_address = nothing};
    s->recipients[0] = (struct queue_recipient){
        .address = (char *)"a@x.test", .orcpt = nothing, .state = QUEUE_PENDING};
    s->recipients[1] = (struct queue_recipient){
        .address = (char *)"b@x.test", .orcpt = nothing, .state = QUEUE_SENT};
    s->copy = (struct queue_copy){.id = "ID1",
                                  .destination = "archive",
                                  .recipients = s->recipients,
                                  .recipient_count = 2,
                                  .content_fd = -1};
    s->copy.message = (struct queue_message){.sender = (char *)"s@x.test",
                                             .client_name = nothing,
                                             .client_addr = nothing,
                                             .helo = nothing,
                                             .protocol = nothing,
                                             .mta_queue_id = nothing,
                                             .message_id = nothing,
                                             .arrival = {.tv_sec = 1700000000}};
    set_content(s, "Subject: x\r\n\r\nbody\r\n", 20);
    s->report.outcomes = s->outcomes;
    s->transport = maildir_new(&s->destination, "me:.test");
}

static void setup_clear(struct setup *s)
{
    char *command = mem_printf("rm -rf '%s'", s->top);

    if (s->transport != NULL)
        s->transport->ops->free(s->transport);
    close(s->copy.content_fd);
    ck_assert_int_eq(system(command), 0);
    free(command);
}

/* The number of files in a directory of the Maildir. *name_out: the name of one, for the caller to
 * free. */
static unsigned list(const struct setup *s, const char *name, char **name_out)
{
    char *path = mem_printf("%s/%s", s->endpoint.path, name);
    DIR *dir = opendir(path);
    struct dirent *entry;
    unsigned count = 0;

    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        count++;
        if (name_out != NULL) {
            free(*name_out);
            *name_out = mem_strdup(entry->d_name);
        }
    }
    closedir(dir);
    free(path);
    return count;
}

static void deliver(struct setup *s)
{
    memset(s->outcomes, 0, sizeof s->outcomes);
    snprintf(s->outcomes[1].reason, sizeof s->outcomes[1].reason, "as it was");
    s->transport->ops->deliver(s->transport, &s->copy, &s->report);
    ck_assert_str_eq(s->outcomes[1].reason, "as it was");
}

static void assert_delivered(struct setup *s)
{
    deliver(s);
    ck_assert_int_eq(s->outcomes[0].result, OUTCOME_OK);
    ck_assert_str_eq(s->outcomes[0].dsn, "2.0.0");
    ck_assert(!s->report.is_host_fault && !s->report.is_connection_fault);
    ck_assert_uint_eq(list(s, "tmp", NULL), 0);
}

START_TEST(a_file_as_readers_expect_it)
{
    struct setup s;
    struct stat st;
    char *name = NULL, relay[400];

    setup_init(&s, "mail");
    s.destination.format = CONFIG_FORMAT_ENVELOPE;
    assert_delivered(&s);
    snprintf(relay, sizeof relay, "maildir:%s/mail", s.top);
    ck_assert_str_eq(s.report.relay, relay);
    ck_assert_uint_eq(list(&s, "new", &name), 1);
    ck_assert_uint_eq(list(&s, "cur", NULL), 0);
    static const char begin[] = "1700000000.ID1.me_.test,S=";
    ck_assert_int_eq(strncmp(name, begin, sizeof begin - 1), 0);
    char *path = mem_printf("%s/new/%s", s.endpoint.path, name);
    char text[1000] = "";
    int fd = open(path, O_RDONLY);
    ssize_t len = read(fd, text, sizeof text - 1);
    ck_assert_int_eq(strtol(name + sizeof begin - 1, NULL, 10), len);
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    close(fd);
    static const char head[] = "Return-Path: <s@x.test>\nX-Envelope-From: <s@x.test>\n"
                               "X-Envelope-To: <a@x.test>\nReceived: ";
    ck_assert_int_eq(strncmp(text, head, sizeof head - 1), 0);
    ck_assert_str_eq(strstr(text, "Subject: "), "Subject: x\n\nbody\n");
    ck_assert_ptr_null(strchr(text, '\r'));
    for (const char *const *p = (const char *const[]){"", "/tmp", "/new", "/cur", NULL}; *p; p++) {
        char *dir = mem_printf("%s%s", s.endpoint.path, *p);
        ck_assert_int_eq(stat(dir, &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0700);
        free(dir);
    }
    free(path);
    free(name);
    setup_clear(&s);
}
END_TEST

START_TEST(content_in_memory)
{
    struct setup s;

    setup_init(&s, "mail");
    assert_delivered(&s);
    s.copy.content = "Subject: x\r\n\r\nbody\r\n";
    assert_delivered(&s); /* the same file */
    ck_assert_uint_eq(list(&s, "new", NULL), 1);
    s.copy.content = "Subject: y\r\n\r\nbody\r\n";
    assert_delivered(&s);
    ck_assert_uint_eq(list(&s, "new", NULL), 2);
    setup_clear(&s);
}
END_TEST

/* A second attempt after a crash; and another copy that happens to have the name. */
START_TEST(a_copy_that_is_there_is_not_delivered_twice)
{
    struct setup s;

    setup_init(&s, "mail");
    assert_delivered(&s);
    assert_delivered(&s);
    ck_assert_uint_eq(list(&s, "new", NULL), 1);
    set_content(&s, "Subject: y\r\n\r\nbody\r\n", 20);
    assert_delivered(&s);
    ck_assert_uint_eq(list(&s, "new", NULL), 2);
    assert_delivered(&s);
    ck_assert_uint_eq(list(&s, "new", NULL), 2);
    setup_clear(&s);
}
END_TEST

/* A journal report is the same at a second attempt, too. */
START_TEST(a_journal_report_that_is_there)
{
    struct setup s;

    setup_init(&s, "mail");
    s.destination.format = CONFIG_FORMAT_JOURNAL;
    assert_delivered(&s);
    assert_delivered(&s);
    ck_assert_uint_eq(list(&s, "new", NULL), 1);
    setup_clear(&s);
}
END_TEST

/* A FIFO with the name of the file must not block the delivery; another user may have made it. */
START_TEST(a_fifo_of_that_name)
{
    struct setup s;
    char *name = NULL;

    setup_init(&s, "mail");
    assert_delivered(&s);
    ck_assert_uint_eq(list(&s, "new", &name), 1);
    char *path = mem_printf("%s/new/%s", s.endpoint.path, name);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    assert_delivered(&s);
    ck_assert_uint_eq(list(&s, "new", NULL), 2);
    free(path);
    free(name);
    setup_clear(&s);
}
END_TEST

static void assert_deferred(struct setup *s, bool is_host_fault, const char *dsn,
                            const char *reason)
{
    deliver(s);
    ck_assert_int_eq(s->outcomes[0].result, OUTCOME_RETRY);
    ck_assert_str_eq(s->outcomes[0].dsn, dsn);
    if (strstr(s->outcomes[0].reason, reason) == NULL)
        ck_abort_msg("'%s' not in '%s'", reason, s->outcomes[0].reason);
    ck_assert(s->report.is_host_fault == is_host_fault);
    ck_assert(!is_host_fault || strcmp(s->report.fault.reason, s->outcomes[0].reason) == 0);
}

/* --- templates --- */

static struct queue_recipient pending(const char *address)
{
    return (struct queue_recipient){
        .address = (char *)address, .orcpt = nothing, .state = QUEUE_PENDING};
}

/* The text of the only file in a Maildir below the directory of the test. The caller frees it. */
static char *read_only_file(struct setup *s, const char *maildir)
{
    char *name = NULL, *text = mem_zalloc(2000);

    snprintf(s->endpoint.path, sizeof s->endpoint.path, "%s/%s", s->top, maildir);
    ck_assert_uint_eq(list(s, "new", &name), 1);
    ck_assert_uint_eq(list(s, "tmp", NULL), 0);
    char *path = mem_printf("%s/new/%s", s->endpoint.path, name);
    int fd = open(path, O_RDONLY);
    ck_assert_int_gt(read(fd, text, 1999), 0);
    close(fd);
    free(path);
    free(name);
    return text;
}

/* Recipients of two domains, and one whose domain makes no path: a file for each domain, with its
 * own recipients. The date is that of the arrival, in UTC. */
START_TEST(a_maildir_for_each_domain)
{
    static const char *const results[] = {"ok", "ok", "ok", "refused", "as it was"};
    struct queue_recipient recipients[] = {pending("a@x.test"), pending("b@Y.Test"),
                                           pending("c@X.TEST"), pending("d@../x"),
                                           pending("e@z.test")};
    struct outcome outcomes[5] = {0};
    struct setup s;

    ck_assert_int_eq(setenv("TZ", "Pacific/Kiritimati", 1), 0); /* there it is December already */
    setup_init(&s, "of/%d/{%Y-%m}");
    char *base = mem_printf("%s/of", s.top);
    ck_assert_int_eq(mkdir(base, 0700), 0);
    s.destination.format = CONFIG_FORMAT_ENVELOPE;
    s.copy.message.arrival.tv_sec = 1701388799; /* 2023-11-30 23:59:59 */
    recipients[4].state = QUEUE_SENT;
    snprintf(outcomes[4].reason, sizeof outcomes[4].reason, "as it was");
    s.copy.recipients = recipients;
    s.copy.recipient_count = 5;
    s.report.outcomes = outcomes;
    for (int i = 0; i < 2; i++) { /* a second attempt, after a crash, changes nothing */
        s.transport->ops->deliver(s.transport, &s.copy, &s.report);
        for (size_t k = 0; k < 4; k++)
            ck_assert_msg(outcomes[k].result ==
                              (strcmp(results[k], "ok") == 0 ? OUTCOME_OK : OUTCOME_REFUSED),
                          "%zu: %s", k, outcomes[k].reason);
    }
    ck_assert_str_eq(outcomes[4].reason, "as it was");
    ck_assert_str_eq(outcomes[3].reason, "the template of \"relay_to\" makes no path: domain is "
                                         "neither a host name nor an address literal");
    char *delivered = mem_printf("delivered to maildir %s/y.test/2023-11", base);
    ck_assert_str_eq(outcomes[1].reason, delivered);
    ck_assert(!s.report.is_untried && !s.report.is_host_fault);
    char *relay = mem_printf("maildir:%s", s.endpoint.path);
    ck_assert_str_eq(s.report.relay, relay);
    char *x = read_only_file(&s, "of/x.test/2023-11"), *y = read_only_file(&s, "of/y.test/2023-11");
    ck_assert_ptr_nonnull(strstr(x, "X-Envelope-To: <a@x.test>,\n\t<c@X.TEST>\nReceived"));
    ck_assert_ptr_nonnull(strstr(y, "X-Envelope-To: <b@Y.Test>\nReceived"));
    free(x);
    free(y);
    free(relay);
    free(delivered);
    free(base);
    setup_clear(&s);
}
END_TEST

/* A sender that depends on the recipient: a file for each. */
START_TEST(a_file_for_each_sender)
{
    struct queue_recipient recipients[] = {pending("a@x.test"), pending("b@y.test"),
                                           pending("c@x.test")};
    struct outcome outcomes[3] = {0};
    struct setup s;

    setup_init(&s, "mail");
    s.destination.sender = CONFIG_ADDRESS_TEMPLATE;
    s.destination.sender_address = (char *)"%d@s.test";
    s.copy.recipients = recipients;
    s.copy.recipient_count = 3;
    s.report.outcomes = outcomes;
    for (int i = 0; i < 2; i++) {
        s.transport->ops->deliver(s.transport, &s.copy, &s.report);
        for (size_t k = 0; k < 3; k++)
            ck_assert_int_eq(outcomes[k].result, OUTCOME_OK);
        ck_assert_uint_eq(list(&s, "new", NULL), 2);
    }
    setup_clear(&s);
}
END_TEST

/* An attempt creates at most 100 directories; the next attempt goes on. These are more Maildirs
 * than are kept in mind. */
START_TEST(so_many_directories_in_an_attempt)
{
    enum { COUNT = 130 };
    struct queue_recipient recipients[COUNT];
    static struct outcome outcomes[COUNT];
    char addresses[COUNT][32];
    size_t delivered = 0;
    struct setup s;

    setup_init(&s, "%d");
    for (size_t i = 0; i < COUNT; i++) {
        snprintf(addresses[i], sizeof addresses[i], "a@d%zu.test", i);
        recipients[i] = pending(addresses[i]);
    }
    s.copy.recipients = recipients;
    s.copy.recipient_count = COUNT;
    s.report.outcomes = outcomes;
    s.transport->ops->deliver(s.transport, &s.copy, &s.report);
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert_int_eq(outcomes[i].result, i < 100 ? OUTCOME_OK : OUTCOME_RETRY);
        if (outcomes[i].result == OUTCOME_OK)
            recipients[i].state = QUEUE_SENT;
    }
    ck_assert_ptr_nonnull(
        strstr(outcomes[100].reason, "/d100.test: not created now: this attempt has created 100"));
    ck_assert(!s.report.is_host_fault);
    s.transport->ops->deliver(s.transport, &s.copy, &s.report);
    for (size_t i = 0; i < COUNT; i++)
        delivered += outcomes[i].result == OUTCOME_OK;
    ck_assert_uint_eq(delivered, COUNT);
    setup_clear(&s);
}
END_TEST

/* A fault in one of the Maildirs is no fault of the destination; one of their base is, also if the
 * first recipient has an outcome of its own. */
START_TEST(a_fault_in_one_of_the_maildirs)
{
    struct queue_recipient recipients[] = {pending("a@x.test"), pending("b@y.test")};
    struct queue_recipient nowhere[] = {pending("a@[192.0.2.1]"), pending("b@y.test")};
    struct setup s;

    setup_init(&s, "of/%d");
    s.copy.recipients = recipients;
    s.transport->ops->deliver(s.transport, &s.copy, &s.report);
    for (size_t i = 0; i < 2; i++)
        ck_assert_int_eq(s.outcomes[i].result, OUTCOME_RETRY);
    ck_assert(s.report.is_host_fault);
    s.copy.recipients = nowhere;
    s.transport->ops->deliver(s.transport, &s.copy, &s.report);
    ck_assert_int_eq(s.outcomes[0].result, OUTCOME_REFUSED);
    ck_assert(s.report.is_host_fault);
    ck_assert_int_eq(s.report.fault.result, OUTCOME_RETRY);
    ck_assert_ptr_nonnull(strstr(s.report.fault.reason, ": open: No such file or directory"));
    s.copy.recipients = recipients;
    char *base = mem_printf("%s/of", s.top), *file = mem_printf("%s/x.test", base);
    ck_assert_int_eq(mkdir(base, 0700), 0);
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL, 0600);
    ck_assert_int_ne(fd, -1);
    close(fd);
    s.transport->ops->deliver(s.transport, &s.copy, &s.report);
    ck_assert_int_eq(s.outcomes[0].result, OUTCOME_RETRY);
    ck_assert_ptr_nonnull(strstr(s.outcomes[0].reason, "/x.test: open: Not a directory"));
    ck_assert_int_eq(s.outcomes[1].result, OUTCOME_OK);
    ck_assert(!s.report.is_host_fault);
    free(base);
    free(file);
    setup_clear(&s);
}
END_TEST

START_TEST(no_directory_to_be_in)
{
    struct setup s;

    setup_init(&s, "missing/mail");
    assert_deferred(&s, true, "4.3.0", "missing/mail: open: No such file or directory");
    setup_clear(&s);
}
END_TEST

START_TEST(a_file_in_the_way)
{
    struct setup s;

    setup_init(&s, "mail");
    ck_assert_int_eq(mkdir(s.endpoint.path, 0700), 0);
    char *path = mem_printf("%s/new", s.endpoint.path);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    assert_deferred(&s, true, "4.3.0", "mail: new: Not a directory");
    ck_assert_int_eq(unlink(path), 0);
    assert_delivered(&s);
    free(path);
    setup_clear(&s);
}
END_TEST

START_TEST(no_room)
{
    static char content[300000];
    struct setup s;
    struct rlimit old, limit;

    setup_init(&s, "mail");
    memset(content, 'x', sizeof content);
    set_content(&s, content, sizeof content);
    getrlimit(RLIMIT_FSIZE, &old);
    limit = (struct rlimit){200000, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_deferred(&s, false, "4.3.1", "mail: write: File too large");
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    ck_assert_uint_eq(list(&s, "tmp", NULL) + list(&s, "new", NULL), 0);
    assert_delivered(&s);
    setup_clear(&s);
}
END_TEST

START_TEST(content_that_cannot_be_read)
{
    struct setup s;

    setup_init(&s, "mail");
    s.copy.message.size_bytes++;
    assert_deferred(&s, false, "4.3.0", "cannot read the spool: file too short");
    s.destination.format = CONFIG_FORMAT_JOURNAL;
    assert_deferred(&s, false, "4.3.0", "cannot read the spool: file too short");
    ck_assert_uint_eq(list(&s, "tmp", NULL) + list(&s, "new", NULL), 0);
    setup_clear(&s);
}
END_TEST

START_TEST(interrupted)
{
    struct setup s;

    setup_init(&s, "mail");
    s.transport->ops->interrupt(s.transport, true); /* a file is written soon */
    assert_delivered(&s);
    s.transport->ops->interrupt(s.transport, false);
    assert_deferred(&s, true, "4.3.0", "write: Interrupted");
    ck_assert(!s.transport->ops->is_connected(s.transport));
    setup_clear(&s);
}
END_TEST

static const struct {
    const char *content, *file;
} line_ends[] = {
    {"", ""},
    {"a\r\n", "a\n"},
    {"a\r\n\r\nb", "a\n\nb"},
    {"\ra\rb\r\r\n\r", "\ra\rb\r\n\r"},
    {"\r\r", "\r\r"},
};

/* The line ends are the same for pieces of any size. */
START_TEST(line_ends_of_a_file)
{
    const char *content = line_ends[_i].content;
    size_t len = strlen(content);

    for (size_t step = 1; step <= len + 1; step++) {
        int fd = memfd_create("file", MFD_CLOEXEC);
        struct maildir_file *f = maildir_file_new(fd);
        char text[64] = "";
        for (size_t at = 0; at < len; at += step)
            ck_assert_int_eq(maildir_file_write(f, content + at, len - at < step ? len - at : step),
                             0);
        ck_assert_int_eq(maildir_file_finish(f), 0);
        ck_assert_uint_eq(maildir_file_size(f), strlen(line_ends[_i].file));
        ck_assert_int_ge(pread(fd, text, sizeof text - 1, 0), 0);
        ck_assert_str_eq(text, line_ends[_i].file);
        maildir_file_free(f);
        close(fd);
    }
}
END_TEST

START_TEST(large_files_and_their_likeness)
{
    static char content[200001];
    int fds[2];

    for (size_t i = 0; i < sizeof content - 1; i++)
        content[i] = i % 100 == 98 ? '\r' : i % 100 == 99 ? '\n' : 'x';
    for (int i = 0; i < 2; i++) {
        fds[i] = memfd_create("file", MFD_CLOEXEC);
        struct maildir_file *f = maildir_file_new(fds[i]);
        ck_assert_int_eq(maildir_file_write(f, content, sizeof content - 1), 0);
        ck_assert_int_eq(maildir_file_finish(f), 0);
        ck_assert_uint_eq(maildir_file_size(f), 198000);
        maildir_file_free(f);
    }
    ck_assert(maildir_file_is_same(fds[0], fds[1]));
    ck_assert_int_eq(pwrite(fds[1], "y", 1, 197999), 1);
    ck_assert(!maildir_file_is_same(fds[0], fds[1]));
    ck_assert_int_eq(ftruncate(fds[1], 197999), 0);
    ck_assert(!maildir_file_is_same(fds[0], fds[1]));
    ck_assert(!maildir_file_is_same(fds[1], fds[0]));
    ck_assert(!maildir_file_is_same(fds[0], -1));
    close(fds[0]);
    close(fds[1]);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("maildir");

    tcase_add_test(t, a_file_as_readers_expect_it);
    tcase_add_test(t, content_in_memory);
    tcase_add_test(t, a_copy_that_is_there_is_not_delivered_twice);
    tcase_add_test(t, a_journal_report_that_is_there);
    tcase_add_test(t, a_fifo_of_that_name);
    tcase_add_test(t, a_maildir_for_each_domain);
    tcase_add_test(t, a_file_for_each_sender);
    tcase_add_test(t, so_many_directories_in_an_attempt);
    tcase_add_test(t, a_fault_in_one_of_the_maildirs);
    tcase_add_test(t, no_directory_to_be_in);
    tcase_add_test(t, a_file_in_the_way);
    tcase_add_test(t, no_room);
    tcase_add_test(t, content_that_cannot_be_read);
    tcase_add_test(t, interrupted);
    tcase_add_loop_test(t, line_ends_of_a_file, 0, UNIT_COUNT(line_ends));
    tcase_add_test(t, large_files_and_their_likeness);
    return unit_run("maildir", t);
}
