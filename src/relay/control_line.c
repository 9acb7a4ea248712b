/* SPDX-License-Identifier: ISC */
#include "relay/control_line.h"

#include "base/ascii.h"
#include "base/log.h"
#include "base/mem.h"
#include "mail/xtext.h"
#include "queue/queue_id.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const actions[] = {[QUEUE_RETRY] = "retry",
                                      [QUEUE_HOLD] = "hold",
                                      [QUEUE_RELEASE] = "release",
                                      [QUEUE_DELETE] = "delete",
                                      [QUEUE_REQUEUE] = "requeue"};
enum { ACTIONS = sizeof actions / sizeof actions[0] };

static const struct {
    const char *name;
    unsigned place;
} places[] = {{"queue", QUEUE_IN_QUEUE}, {"hold", QUEUE_IN_HOLD}, {"dead", QUEUE_IN_DEAD}};
enum { PLACES = sizeof places / sizeof places[0] };

static unsigned place_of(const char *word, size_t len)
{
    for (size_t i = 0; i < PLACES; i++)
        if (strlen(places[i].name) == len && strncmp(places[i].name, word, len) == 0)
            return places[i].place;
    return 0;
}

unsigned control_line_places(const char *words)
{
    unsigned all = 0;

    for (;;) {
        size_t len = strcspn(words, ",");
        unsigned place = place_of(words, len);
        if (place == 0)
            return 0;
        all |= place;
        if (words[len] == '\0')
            return all;
        words += len + 1;
    }
}

const char *control_line_action(enum queue_action action)
{
    return actions[action];
}

/* Parse 1 to 18 decimal digits. */
static bool parse_number(const char *text, uint64_t *out)
{
    size_t len = strlen(text);

    *out = 0;
    if (len == 0 || len > 18)
        return false;
    for (; ascii_is_digit(*text); text++)
        *out = *out * 10 + (uint64_t)(*text - '0');
    return *text == '\0';
}

/* The words whose value is a text. A word has the same index here and in owned.texts. */
static const struct {
    const char *name;
    size_t offset; /* of the member in struct queue_selection */
} text_words[CONTROL_LINE_TEXTS] = {
    {"from=", offsetof(struct queue_selection, from)},
    {"to=", offsetof(struct queue_selection, to)},
    {"reason=", offsetof(struct queue_selection, reason)},
    {"mta-id=", offsetof(struct queue_selection, mta_id)},
    {"message-id=", offsetof(struct queue_selection, message_id)},
};

static const char **text_at(struct queue_selection *s, size_t word)
{
    return (const char **)(void *)((char *)s + text_words[word].offset);
}

static const char *text_of(const struct queue_selection *s, size_t word)
{
    return *(const char *const *)(const void *)((const char *)s + text_words[word].offset);
}

enum number_word { WORD_BEFORE, WORD_AFTER, WORD_LARGER, WORD_LIMIT, NUMBER_WORDS };
static const char *const number_words[NUMBER_WORDS] = {
    [WORD_BEFORE] = "before=",
    [WORD_AFTER] = "after=",
    [WORD_LARGER] = "larger=",
    [WORD_LIMIT] = "limit=",
};

static uint64_t number_of(const struct queue_selection *s, enum number_word word)
{
    switch (word) {
    case WORD_BEFORE:
        return (uint64_t)s->arrived_before;
    case WORD_AFTER:
        return (uint64_t)s->arrived_after;
    case WORD_LARGER:
        return s->larger_bytes;
    case WORD_LIMIT:
        return s->limit;
    case NUMBER_WORDS:
        break;
    }
    return 0;
}

static void set_number(struct queue_selection *s, enum number_word word, uint64_t number)
{
    switch (word) {
    case WORD_BEFORE:
        s->arrived_before = (time_t)number;
        break;
    case WORD_AFTER:
        s->arrived_after = (time_t)number;
        break;
    case WORD_LARGER:
        s->larger_bytes = number;
        break;
    case WORD_LIMIT:
        s->limit = number;
        break;
    case NUMBER_WORDS:
        break;
    }
}

/* Return the text after the prefix; NULL: the text does not begin with the prefix. */
static const char *behind(const char *text, const char *prefix)
{
    size_t len = strlen(prefix);

    return strncmp(text, prefix, len) == 0 ? text + len : NULL;
}

/* Take a word with a text. Returns 1 if it was taken, 0 if it is another word, -1 if its value is
 * wrong. */
static int parse_text(const char *word, struct control_line *out)
{
    struct buf value = {0};

    for (size_t i = 0; i < CONTROL_LINE_TEXTS; i++) {
        const char *text = behind(word, text_words[i].name);
        if (text == NULL)
            continue;
        if (out->owned.texts[i] != NULL || xtext_decode(text, strlen(text), &value) != 0 ||
            value.len == 0 || memchr(value.data, '\0', value.len) != NULL) {
            buf_clear(&value);
            return -1;
        }
        out->owned.texts[i] = buf_take(&value);
        *text_at(&out->change.selection, i) = out->owned.texts[i];
        return 1;
    }
    return 0;
}

static int parse_numbers(const char *word, struct control_line *out)
{
    struct queue_selection *s = &out->change.selection;
    uint64_t number;

    for (enum number_word i = 0; i < NUMBER_WORDS; i++) {
        const char *text = behind(word, number_words[i]);
        if (text == NULL)
            continue;
        if (number_of(s, i) != 0 || !parse_number(text, &number) || number == 0)
            return -1;
        set_number(s, i, number);
        return 1;
    }
    return 0;
}

static int parse_destination(const char *text, char out[QUEUE_DESTINATION_SIZE])
{
    if (out[0] != '\0' || !queue_destination_is_valid(text))
        return -1;
    mem_copy_string(out, QUEUE_DESTINATION_SIZE, text);
    return 1;
}

static int parse_names(const char *word, struct control_line *out)
{
    struct queue_change *change = &out->change;
    const char *text;
    int64_t id;
    int rc = 0;

    if ((text = behind(word, "id=")) != NULL) {
        rc = out->owned.id[0] == '\0' && queue_id_parse(text, &id) ? 1 : -1;
        if (rc == 1)
            queue_id_format(id, out->owned.id);
        change->selection.id = out->owned.id;
    } else if ((text = behind(word, "destination=")) != NULL) {
        rc = parse_destination(text, out->owned.destination);
        change->selection.destination = out->owned.destination;
    } else if ((text = behind(word, "requeue-to=")) != NULL) {
        rc = change->action == QUEUE_REQUEUE ? parse_destination(text, out->owned.requeue_to) : -1;
        change->to = out->owned.requeue_to;
    } else if ((text = behind(word, "in=")) != NULL) {
        rc = change->selection.places == 0 ? 1 : -1;
        change->selection.places = control_line_places(text);
        rc = change->selection.places == 0 ? -1 : rc;
    }
    return rc;
}

static int parse_word(const char *word, struct control_line *out, struct err *err)
{
    int rc = strcmp(word, "all") == 0 ? 1 : parse_text(word, out);

    if (rc == 0)
        rc = parse_numbers(word, out);
    if (rc == 0)
        rc = parse_names(word, out);
    if (rc == 1)
        return 0;
    err_set(err, "request not understood: %.100s", word);
    return -1;
}

/* Return true if the request says which copies it selects. Places, a destination and a limit are
 * not enough: without another condition all copies are selected, and the request has to say "all".
 */
static bool has_condition(const struct queue_selection *s)
{
    for (size_t i = 0; i < CONTROL_LINE_TEXTS; i++)
        if (text_of(s, i) != NULL)
            return true;
    return s->id != NULL || s->arrived_before != 0 || s->arrived_after != 0 || s->larger_bytes != 0;
}

/* Parse the words of a change. The text of `words` is modified. */
static int parse_change(char *words, struct control_line *out, struct err *err)
{
    char *rest = words;
    char *word = strsep(&rest, " ");
    bool is_all = false;

    out->verb = CONTROL_CHANGE;
    while (word != NULL) {
        if (parse_word(word, out, err) != 0)
            return -1;
        is_all |= strcmp(word, "all") == 0;
        word = strsep(&rest, " ");
    }
    if (is_all || has_condition(&out->change.selection))
        return 0;
    err_set(err, "the request does not say which copies");
    return -1;
}

/* Parse the words of "suspend": "DESTINATION UNTIL [reason=XTEXT]". The text of `words` is
 * modified. */
static int parse_suspend(char *words, struct control_line *out, struct err *err)
{
    char *rest = words;
    const char *destination = strsep(&rest, " ");
    const char *until = rest == NULL ? "" : strsep(&rest, " ");
    const char *reason = rest == NULL ? "reason=" : rest;
    struct buf text = {0};
    uint64_t number;
    int rc = -1;

    out->verb = CONTROL_SUSPEND;
    reason = behind(reason, "reason=");
    if (reason != NULL && queue_destination_is_valid(destination) && parse_number(until, &number) &&
        xtext_decode(reason, strlen(reason), &text) == 0) {
        mem_copy_string(out->suspension.destination, sizeof out->suspension.destination,
                        destination);
        out->suspension.until = (time_t)number;
        snprintf(out->suspension.reason, sizeof out->suspension.reason, "%s", buf_str(&text));
        log_sanitize(out->suspension.reason);
        rc = 0;
    } else {
        err_set(err, "request not understood");
    }
    buf_clear(&text);
    return rc;
}

static int parse_named(const char *text, enum control_verb verb, struct control_line *out,
                       struct err *err)
{
    out->verb = verb;
    if (parse_destination(text, out->destination) == 1)
        return 0;
    err_set(err, "no name of a destination");
    return -1;
}

int control_line_parse(const char *text, struct control_line *out, struct err *err)
{
    const char *rest;

    memset(out, 0, sizeof *out);
    out->verb = CONTROL_PING;
    if (strcmp(text, "ping") == 0)
        return 0;
    if ((rest = behind(text, "health ")) != NULL)
        return parse_named(rest, CONTROL_HEALTH, out, err);
    if ((rest = behind(text, "resume ")) != NULL)
        return parse_named(rest, CONTROL_RESUME, out, err);
    char *words = mem_strdup(text);
    int rc = -1;
    err_set(err, "unknown request");
    if (behind(words, "suspend ") != NULL)
        rc = parse_suspend(words + strlen("suspend "), out, err);
    for (int i = 0; i < ACTIONS; i++) {
        size_t len = strlen(actions[i]);
        if (strncmp(words, actions[i], len) != 0 || words[len] != ' ')
            continue;
        out->change.action = (enum queue_action)i;
        rc = parse_change(words + len + 1, out, err);
    }
    free(words);
    return rc;
}

void control_line_clear(struct control_line *line)
{
    for (size_t i = 0; i < CONTROL_LINE_TEXTS; i++)
        free(line->owned.texts[i]);
    memset(line->owned.texts, 0, sizeof line->owned.texts);
}

static void format_change(const struct queue_change *change, struct buf *out)
{
    const struct queue_selection *s = &change->selection;
    const char *separator = " in=";

    buf_adds(out, actions[change->action]);
    if (!has_condition(s))
        buf_adds(out, " all");
    if (s->id != NULL)
        buf_addf(out, " id=%s", s->id);
    if (s->destination != NULL)
        buf_addf(out, " destination=%s", s->destination);
    for (size_t i = 0; i < PLACES; i++) {
        if ((s->places & places[i].place) == 0)
            continue;
        buf_addf(out, "%s%s", separator, places[i].name);
        separator = ",";
    }
    for (size_t i = 0; i < CONTROL_LINE_TEXTS; i++) {
        const char *text = text_of(s, i);
        if (text == NULL)
            continue;
        buf_addf(out, " %s", text_words[i].name);
        xtext_encode(text, strlen(text), out);
    }
    for (enum number_word i = 0; i < NUMBER_WORDS; i++)
        if (number_of(s, i) != 0)
            buf_addf(out, " %s%" PRIu64, number_words[i], number_of(s, i));
    if (change->to != NULL)
        buf_addf(out, " requeue-to=%s", change->to);
}

void control_line_format(const struct control_line *line, struct buf *out)
{
    switch (line->verb) {
    case CONTROL_PING:
        buf_adds(out, "ping");
        return;
    case CONTROL_HEALTH:
        buf_addf(out, "health %s", line->destination);
        return;
    case CONTROL_RESUME:
        buf_addf(out, "resume %s", line->destination);
        return;
    case CONTROL_SUSPEND:
        buf_addf(out, "suspend %s %lld reason=", line->suspension.destination,
                 (long long)line->suspension.until);
        xtext_encode(line->suspension.reason, strlen(line->suspension.reason), out);
        return;
    case CONTROL_CHANGE:
        format_change(&line->change, out);
        return;
    }
}

void control_line_changed(const struct queue_changed *changed, const char *reason, struct buf *out)
{
    char *text = mem_strdup(reason);

    log_sanitize(text);
    buf_addf(out, "%" PRIu64 " %" PRIu64 " %" PRIu64 "%s%s", changed->changed, changed->ordered,
             changed->failed, text[0] == '\0' ? "" : " ", text);
    free(text);
}

int control_line_parse_changed(const char *text, struct queue_changed *out, struct err *reason_out)
{
    uint64_t *const numbers[] = {&out->changed, &out->ordered, &out->failed};

    memset(out, 0, sizeof *out);
    reason_out->text[0] = '\0';
    for (int i = 0; i < 3; i++) {
        char *end;
        if (text[0] < '0' || text[0] > '9')
            return -1;
        *numbers[i] = strtoull(text, &end, 10);
        if (*end != ' ' && (*end != '\0' || i < 2))
            return -1;
        text = *end == ' ' ? end + 1 : end;
    }
    err_set(reason_out, "%s", text);
    log_sanitize(reason_out->text);
    return 0;
}
