/* SPDX-License-Identifier: ISC */
/*
 * trace_log: the lines of all logs that have a queue id, sorted by time and collected into
 * messages. One message here is one queue file: a mail that passes two instances of Postfix and
 * splitrelay is at least three messages, which trace_join connects. One thread.
 *
 * Use: trace_log_new(), trace_log_add() for each line, trace_log_settle(), trace_log_sort(). After
 * further lines the latter two start again. Messages and events are numbered; numbers change with
 * each sort.
 *
 * Only the lines that the words may be about stay (trace_select.h). Which ones is known at the end,
 * so all wait in memory until then. If that would take too much memory, logs that are files are
 * read twice: first for the connections between ids alone.
 *
 * Short queue ids of Postfix are used again. A message ends with the line "removed", or when
 * another message with the same id arrives in the same instance: a second client, Message-ID or
 * sender.
 *
 * Lines of one second keep their order in a file, and files count in the order of their first
 * stamps.
 */
#ifndef SPLIT_CTL_TRACE_LOG_H
#define SPLIT_CTL_TRACE_LOG_H

#include "ctl/trace/trace_facts.h"
#include "ctl/trace/trace_kind.h"
#include "ctl/trace/trace_line.h"
#include "ctl/trace/trace_pool.h"
#include "ctl/trace/trace_select.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TRACE_NONE UINT32_MAX /* no event, no message, no edge */

/* Where lines come from: host and tag. */
struct trace_source_tag {
    char *text; /* HOST and tag, each with a NUL */
    struct slice host, tag;
    struct trace_origin origin;
    uint32_t system; /* index: tags of one instance on one host have the same */
};

struct trace_system {
    struct slice host, name; /* "postfix-in", "splitrelay" */
    enum trace_program program;
    bool has_qmgr; /* it is an instance of Postfix, and not a service that has a name of its own */
};

struct trace_file {
    int64_t us; /* the first stamp; 0: none */
    /* The lines that a syslog daemon cuts have one length. */
    uint32_t longest, longest_count; /* bytes of the longest line, and how many are as long */
};

/* What trace_way reads once of the events of a message, which have the numbers 0, 1, ... in it. */
struct trace_naming {
    uint64_t hash; /* of an address, slice_hash_same() */
    uint32_t n;    /* the event, which is about this recipient */
};

struct trace_index {
    struct trace_facts *facts;
    uint32_t *events;
    uint32_t count;
    struct trace_naming *namings; /* sorted */
    uint32_t naming_count;
    uint32_t *common; /* the events that are about no single recipient */
    uint32_t common_count;
    bool has_delivery;
};

struct trace_message {
    struct slice id;
    uint32_t system;
    uint32_t first, last; /* events */
    uint32_t run;         /* the first event with the time of the last one */
    uint32_t inserted;    /* the event that was put between others last; TRACE_NONE: none */
    uint32_t older;       /* the message before with this id, in any system */
    int64_t first_us, last_us;
    bool has_arrived, is_removed;
    struct slice message_id; /* in the text of an event */
    struct slice sender;     /* the same, in an event SENDER */

    /* set by trace_join */
    uint32_t out, in; /* edges */
    uint32_t plain;   /* those of `out` that are of no delivery */
    /* set by trace_word */
    bool is_named;   /* a word is its id */
    bool is_wanted;  /* a word is its sender or Message-ID */
    bool is_touched; /* a word may be one of its recipients */
    /* set by trace_way */
    struct trace_index *index; /* NULL: not read yet */
    uint32_t event_count;
};

enum trace_edge_kind {
    TRACE_EDGE_DELIVERY,     /* the next message, into which it was delivered */
    TRACE_EDGE_NOTIFICATION, /* a notification about it */
    TRACE_EDGE_REQUEUE       /* the same mail under another id, after postsuper -r */
};

/* From one message to another one. */
struct trace_edge {
    uint32_t from, to; /* messages */
    uint32_t event;    /* the delivery; TRACE_NONE: only the receiver says so */
    uint32_t next_out, next_in;
    uint32_t next_alike; /* of the same delivery, or of no delivery */
    enum trace_edge_kind kind;
};

enum trace_log_mode {
    TRACE_LOG_WAITS,   /* lines wait for trace_log_settle() */
    TRACE_LOG_NOTES,   /* no line is kept: the files will be read again */
    TRACE_LOG_SELECTS, /* they are read again: lines that are selected wait */
    TRACE_LOG_WANTS    /* all lines are selected */
};

/* What happens when the lines that wait take too much memory. */
enum trace_log_full {
    TRACE_LOG_STOPS,       /* is_full is set, and further lines are ignored */
    TRACE_LOG_READS_AGAIN, /* the mode becomes TRACE_LOG_NOTES */
    TRACE_LOG_AGES         /* lines that have waited long are forgotten */
};

struct trace_log {
    struct trace_stamp stamp;
    int64_t since_us, until_us; /* lines outside are dropped; 0: no limit */
    enum trace_log_mode mode;
    enum trace_log_full when_full;
    size_t memory_max; /* bytes */
    bool is_full;

    struct trace_pool kept;          /* the events that are selected */
    struct trace_pool recent, older; /* those that wait; `older` only with TRACE_LOG_AGES */
    uint32_t checked;                /* so many of `recent` were not selected */
    uint32_t serial;
    struct trace_select *select;

    struct trace_source_tag *tags;
    uint32_t tag_count, tag_cap;
    uint32_t *tag_slots; /* hash table */
    uint32_t tag_slot_count;
    struct trace_system *systems;
    uint32_t system_count;
    int64_t last_us; /* of the line before in the same file */
    uint32_t file;   /* number of the file that is being read */
    struct trace_file *files;
    uint32_t file_cap;

    struct trace_message *messages;
    uint32_t message_count, message_cap;
    uint32_t *heads; /* hash table: the newest message with an id */
    uint32_t head_count;
    struct trace_edge *edges;
    uint32_t edge_count, edge_cap;

    /* lines of unknown time or form, with the first one; lines that are too long */
    uint64_t lines, bytes, unstamped, overlong;
    char *first_unstamped;
};

/* now: the present time. words: borrowed. No line is dropped for lack of memory unless memory_max
 * is set to something else than SIZE_MAX. */
struct trace_log *trace_log_new(time_t now, const struct trace_words *words)
    __attribute__((nonnull, returns_nonnull, warn_unused_result));
void trace_log_free(struct trace_log *log);
void trace_index_free(struct trace_index *ix);

/* A file begins: its first lines cannot have the time of a line before. written: when it was
 * written last; 0: not known. */
void trace_log_begin_file(struct trace_log *log, time_t written) __attribute__((nonnull));

/* Add a line without its line end. Lines of other programs are dropped. */
void trace_log_add(struct trace_log *log, const char *line, size_t len) __attribute__((nonnull));

/* Keep the lines that are selected by now. Returns true if there are more than before. */
bool trace_log_settle(struct trace_log *log) __attribute__((nonnull));

/* Forget the lines that still wait. */
void trace_log_forget(struct trace_log *log) __attribute__((nonnull));

/* Lines that come from now on are new ones. */
void trace_log_follow(struct trace_log *log) __attribute__((nonnull));

/* All files will be read again: count from the beginning, and take the lines that are selected. */
void trace_log_begin_again(struct trace_log *log) __attribute__((nonnull));

/* Sort the events by time, and make the messages. Events that need a search for their message
 * (splitmilter, amavis) do not have one yet: see trace_join(). */
void trace_log_sort(struct trace_log *log) __attribute__((nonnull));

/* The newest message with this id; TRACE_NONE: there is none. The others follow in `older`. */
uint32_t trace_log_find(const struct trace_log *log, struct slice id) __attribute__((nonnull));

/* Make a message without events. */
uint32_t trace_log_new_message(struct trace_log *log, uint32_t system, struct slice id, int64_t us)
    __attribute__((nonnull));

/* Put an event into a message, at the place that its time gives it. An event that the message has
 * from another file, because files overlap, is dropped. */
void trace_log_attach(struct trace_log *log, uint32_t message, uint32_t event)
    __attribute__((nonnull));

/* Text of an event after "ID: ". */
struct slice trace_log_body(const struct trace_event *e) __attribute__((nonnull));

/* May a syslog daemon have cut the line? It has a length at which daemons cut, or a length that the
 * longest lines of its file have in common. */
bool trace_log_may_be_cut(const struct trace_log *log, const struct trace_event *e)
    __attribute__((nonnull));

/* Read the facts of an event. */
void trace_log_facts(const struct trace_log *log, const struct trace_event *e,
                     struct trace_facts *out) __attribute__((nonnull));

#endif
