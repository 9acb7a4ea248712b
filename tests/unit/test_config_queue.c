/* SPDX-License-Identifier: ISC */
#include "config/config_queue.h"
#include "unit.h"

#include <string.h>

static const struct {
    const char *queue;
    const char *shown; /* NULL: not allowed */
    bool has_password;
} values[] = {
    {"sqlite", "sqlite", false},
    {"postgresql://", "postgresql://", false},
    {"postgresql:///q?host=/run/postgresql", "postgresql:///q?host=/run/postgresql", false},
    {"postgresql://db1,db2:5433/q?target_session_attrs=read-write",
     "postgresql://db1,db2:5433/q?target_session_attrs=read-write", false},
    {"postgresql://u@[2001:db8::1]:5432,[::1]/q", "postgresql://u@[2001:db8::1]:5432,[::1]/q",
     false},
    {"postgresql://u@db1/q", "postgresql://u@db1/q", false},
    {"postgresql://u:@db1/q", "postgresql://u@db1/q", false},
    {"postgresql://u:secret@db1/q", "postgresql://u@db1/q", true},
    {"postgresql://u:secret@db1", "postgresql://u@db1", true},
    {"postgresql://:secret@", "postgresql://@", true},
    {"postgresql://u:sec:ret@db1?sslmode=require", "postgresql://u@db1?sslmode=require", true},
    {"postgresql://u%3A:s%40%2f@db1/q", "postgresql://u%3A@db1/q", true},
    {"postgresql://u@db1/q?password=secret", "postgresql://u@db1/q?password=", true},
    {"postgresql://u@db1/q?a=b&password=secret&c=d", "postgresql://u@db1/q?a=b&password=&c=d",
     true},
    {"postgresql://u@db1/q?sslpassword=secret&passfile=/p",
     "postgresql://u@db1/q?sslpassword=&passfile=/p", true},
    {"postgresql://u@db1/q?passwords=x", "postgresql://u@db1/q?passwords=x", false},
    {"postgresql://u@db1/q?oauth_client_secret=sec&a=%25",
     "postgresql://u@db1/q?oauth_client_secret=&a=%25", true},
    {"postgresql://u@db1/q?p%61ssword=secret", NULL, false},
    {"postgresql://u@db1/q?a=b&%73slpassword=secret", NULL, false},
    {"", NULL, false},
    {"SQLite", NULL, false},
    {"postgresql:/u:secret@db1/q", NULL, false},
    {"postgres//u:secret@db1/q", NULL, false},
    {"mysql://u:secret@db1/q", NULL, false},
    {"postgresql://u:sec/ret@db1/q", NULL, false},
    {"postgresql://u:sec?ret@db1/q", NULL, false},
    {"postgresql://u:sec@ret@db1/q", NULL, false},
    {"postgresql://u@x:secret@db1/q", NULL, false},
    {"postgresql://u:sec%ret@db1/q", NULL, false},
    {"postgresql://u:secret%@db1/q", NULL, false},
    {"postgresql://u:secret%4@db1/q", NULL, false},
    {"postgresql://u:secret%00@db1/q", NULL, false},
    {"postgresql://u:secret@[::1/q", NULL, false},
    {"postgresql://u:secret@[::1", NULL, false},
    {"postgresql://u:secret@[]/q", NULL, false},
    {"postgresql://u:secret@[::1]x/q", NULL, false},
};

/* Not allowed in a configuration; if such a URI comes from elsewhere, it is not shown either. */
START_TEST(the_value_of_an_option_whose_name_is_encoded_is_not_shown)
{
    static const char uri[] = "postgresql://u@db1/q?a=b&p%61ssword=secret&c=d";
    struct buf shown = {0};

    config_queue_show(uri, &shown);
    ck_assert_str_eq(buf_str(&shown), "postgresql://u@db1/q?a=b&&c=d");
    ck_assert(config_queue_has_password(uri));
    buf_clear(&shown);
}
END_TEST

START_TEST(no_message_has_a_password)
{
    struct err err = {""};
    struct buf shown = {0};
    int rc = config_queue_check(values[_i].queue, &err);

    if (values[_i].shown == NULL) {
        ck_assert_int_eq(rc, -1);
        ck_assert_ptr_null(strstr(err.text, "sec"));
        ck_assert_ptr_nonnull(strstr(err.text, " is not valid: ") == NULL
                                  ? strstr(err.text, "allowed: \"sqlite\"")
                                  : err.text);
        return;
    }
    ck_assert_msg(rc == 0, "%s: %s", values[_i].queue, err.text);
    config_queue_show(values[_i].queue, &shown);
    ck_assert_str_eq(buf_str(&shown), values[_i].shown);
    ck_assert_int_eq(config_queue_has_password(values[_i].queue), values[_i].has_password);
    ck_assert_int_eq(config_queue_is_postgresql(values[_i].queue),
                     strcmp(values[_i].queue, "sqlite") != 0);
    buf_clear(&shown);
}
END_TEST

static const struct {
    const char *queue, *name, *value;
} options[] = {
    {"postgresql://u@db1/q?passfile=/p", "passfile", "/p"},
    {"postgresql://u@db1/q?a=b&passfile=%2Fp%20q&c=d", "passfile", "/p q"},
    {"postgresql://u@db1/q?a=b&passfile=&c=d", "passfile", ""},
    {"postgresql://u@db1/q?xpassfile=/p", "passfile", ""},
    {"postgresql://u@db1/q?passfile", "passfile", ""},
    {"postgresql://u@db1/passfile=/p", "passfile", ""},
    {"sqlite", "passfile", ""},
};

START_TEST(an_option_is_found)
{
    struct buf value = {0};

    config_queue_option(options[_i].queue, options[_i].name, &value);
    ck_assert_str_eq(buf_str(&value), options[_i].value);
    buf_clear(&value);
}
END_TEST

int main(void)
{
    TCase *t = tcase_create("config_queue");

    tcase_add_loop_test(t, no_message_has_a_password, 0, UNIT_COUNT(values));
    tcase_add_test(t, the_value_of_an_option_whose_name_is_encoded_is_not_shown);
    tcase_add_loop_test(t, an_option_is_found, 0, UNIT_COUNT(options));
    return unit_run("config_queue", t);
}
