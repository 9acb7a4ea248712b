/* SPDX-License-Identifier: ISC */
#include "base/mem.h"
#include "ctl/check.h"
#include "ctl/setup/command.h"
#include "ctl/json.h"
#include "ctl/setup/postfix.h"
#include "ctl/setup/postfix_review.h"

#include <stdlib.h>
#include <string.h>

/* The value of a parameter of the Postfix instance with this configuration directory, for the
 * caller to free; NULL if postconf(1) fails. */
static char *postfix_value(const char *directory, const char *name)
{
    const char *argv[] = {"postconf", "-c", directory, "-h", name, NULL};
    struct buf out = {0};
    struct err ignored;
    char *value = NULL;

    if (command_need(argv, &out, &ignored) == 0)
        value = mem_strndup(buf_str(&out), strcspn(buf_str(&out), "\n"));
    buf_clear(&out);
    return value;
}

/* Check that splitrelay takes copies of all messages that Postfix accepts. A copy above
 * relay.message_size_limit stays in the queue of Postfix until Postfix gives it up. Then the copy
 * is lost without a notification, because copies have NOTIFY=NEVER. */
static void check_size_limit(struct findings *f, const struct config_relay *r,
                             const char *directory)
{
    char *value = postfix_value(directory, "message_size_limit");
    unsigned long long limit = value == NULL ? 1 : strtoull(value, NULL, 10); /* 0: no limit */

    if (limit == 0)
        find(f, LEVEL_WARNING,
             "relay.message_size_limit is %llu, Postfix in %s has none: copies of larger messages "
             "wait in its queue until the limit is raised",
             (unsigned long long)r->message_size_limit_bytes, directory);
    else if (limit > r->message_size_limit_bytes)
        find(f, LEVEL_WARNING,
             "relay.message_size_limit is %llu, that of Postfix in %s is %llu: copies of larger "
             "messages wait in its queue until the limit is raised",
             (unsigned long long)r->message_size_limit_bytes, directory, limit);
    free(value);
}

/* If recipient_delimiter of Postfix and that of the configuration differ, Postfix and splitmilter
 * find different entries for user+ext. */
static void check_delimiter(struct findings *f, const struct config *config, const char *directory)
{
    bool has_tables = config_milter_table_count(&config->milter) > 0;

    for (size_t i = 0; i < config->other_milter_count; i++)
        has_tables = has_tables || config_milter_table_count(&config->other_milters[i]) > 0;
    char *value = has_tables ? postfix_value(directory, "recipient_delimiter") : NULL;

    if (value != NULL && strcmp(value, config->recipient_delimiter) != 0)
        find(f, LEVEL_WARNING,
             "recipient_delimiter is \"%s\", that of Postfix in %s is \"%s\": they find different "
             "entries for addresses with an extension",
             config->recipient_delimiter, directory, value);
    free(value);
}

static void check_instance(struct findings *f, const struct config *config, const char *directory)
{
    if (config->destination_count > 0)
        check_size_limit(f, &config->relay, directory);
    check_delimiter(f, config, directory);
}

/* Report the findings of postfix_review(). */
static void check_review(struct findings *f, const struct config *config, const char *directory)
{
    static const enum level levels[] = {[POSTFIX_FINDING_NOTE] = LEVEL_NOTE,
                                        [POSTFIX_FINDING_WARNING] = LEVEL_WARNING,
                                        [POSTFIX_FINDING_ERROR] = LEVEL_ERROR};
    struct postfix_review review = {0};
    struct err err;

    if (postfix_review(config, directory, &review, &err) < 0)
        find(f, LEVEL_WARNING, "postfix: %s", err.text);
    for (size_t i = 0; i < review.count; i++) {
        const struct postfix_finding *item = &review.items[i];
        bool has_advice = item->advice[0] != '\0';
        json_t *more = json_object();
        char *text = mem_printf("postfix: %s%s%s%s", item->text, has_advice ? " (" : "",
                                item->advice, has_advice ? ")" : "");
        ctl_json_set(more, "advice", ctl_json_text(item->advice));
        find_more(f, levels[item->level], text, more);
        free(text);
    }
    postfix_review_clear(&review);
}

void check_postfix(struct findings *f, const struct config *config)
{
    struct err ignored;
    char *directory = postfix_default_directory(&ignored);

    if (directory == NULL)
        return;
    check_review(f, config, directory);
    check_instance(f, config, directory);
    char *others = postfix_value(directory, "multi_instance_directories");
    for (char *rest = others, *name; rest != NULL && (name = strsep(&rest, " ,\t")) != NULL;)
        if (name[0] == '/')
            check_instance(f, config, name);
    free(others);
    free(directory);
}
