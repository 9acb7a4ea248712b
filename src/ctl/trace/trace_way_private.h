/* SPDX-License-Identifier: ISC */
/* trace_way_private: shared by the files trace_way*.c. */
#ifndef SPLIT_CTL_TRACE_WAY_PRIVATE_H
#define SPLIT_CTL_TRACE_WAY_PRIVATE_H

#include "ctl/trace/trace_way.h"

#define NAMES_MAX 16
#define DEPTH_MAX 64 /* messages one after the other */

/* The addresses that one recipient has in a message. */
struct names {
    struct slice items[NAMES_MAX];
    size_t count;
};

/* Add an address, if there is room. */
void names_add(struct names *n, struct slice address) __attribute__((nonnull));
/* Is the address one of the names? Case does not matter. */
bool names_have(const struct names *n, struct slice address) __attribute__((nonnull));

/* What is known of the events of a message. Valid until the next sort. */
const struct trace_index *trace_way_index(const struct trace_way_options *o, uint32_t message)
    __attribute__((nonnull, returns_nonnull));

/* Set the numbers of the events that are about one of the addresses, in their order. The array is
 * for the caller to free. */
size_t trace_way_own(const struct trace_way_options *o, uint32_t message, const struct names *names,
                     uint32_t **out) __attribute__((nonnull));

/* Do these facts name one of the addresses as the recipient, with its suffix or without? */
bool trace_way_belongs(const struct trace_way_options *o, const struct trace_facts *f,
                       const struct names *names) __attribute__((nonnull));

/* A recipient of a root, with the addresses that it has there. */
struct trace_recipient {
    struct slice name;
    struct names names;
};

struct trace_recipient_slot {
    uint64_t key; /* hash of a name, or the complement of the hash of an original address */
    size_t n;     /* number of the recipient, plus 1; 0: free */
};

struct trace_recipients {
    struct trace_recipient *items;
    size_t count;
    struct trace_recipient_slot *slots; /* hash table */
    size_t slot_count, used;
};

/* Collect the recipients of a root: first from splitmilter's decisions, which have the addresses
 * that the client gave, then from deliveries and refusals. If no line has one, there is one without
 * address. */
void trace_recipients_read(const struct trace_way_options *o, uint32_t root,
                           struct trace_recipients *out) __attribute__((nonnull));
void trace_recipients_clear(struct trace_recipients *all) __attribute__((nonnull));

/* The text that says how many recipients of the message have no line; NULL: none. For the caller to
 * free. */
char *trace_recipients_missing(const struct trace_way_options *o, uint32_t root)
    __attribute__((nonnull));

/* Add to a way. The format of a text is that of printf(3). */
void trace_way_step(const struct trace_way_options *o, struct trace_way *w,
                    const struct trace_event *e, const char *fmt, ...)
    __attribute__((format(printf, 4, 5), nonnull));
void trace_way_missing(struct trace_way *w, const char *fmt, ...)
    __attribute__((format(printf, 2, 3), nonnull));
/* Add an end, whose strings are "" at first. */
struct trace_end *trace_way_end(struct trace_way *w, enum trace_end_state state)
    __attribute__((nonnull, returns_nonnull));

/* Sort the steps by time. */
void trace_way_sort(struct trace_way *w) __attribute__((nonnull));

/* Add the step for an event that is not a delivery. */
void trace_way_describe(const struct trace_way_options *o, struct trace_way *w,
                        const struct trace_event *e, const struct trace_facts *f)
    __attribute__((nonnull));

/* Add the step for a delivery. */
void trace_way_describe_delivery(const struct trace_way_options *o, struct trace_way *w,
                                 const struct trace_event *e, const struct trace_facts *f)
    __attribute__((nonnull));

/* Which way a part of the mail goes. */
struct leg {
    bool is_copy;
    struct slice name; /* destination of the copy, or the last filter */
};

/* A delivery for the recipient. */
struct hit {
    uint32_t event;
    const struct trace_facts *facts;
};

struct walk {
    const struct trace_way_options *o;
    struct trace_way *way;
    uint32_t *visited; /* owned */
    size_t visited_count;
    unsigned depth;
    bool is_refused;
    struct hit refusal;  /* the first one, if is_refused */
    uint32_t refused_in; /* its message */
};

/* Accessors. */
const struct trace_message *walk_message(const struct walk *w, uint32_t message)
    __attribute__((nonnull, returns_nonnull));
enum trace_program walk_program(const struct walk *w, uint32_t message) __attribute__((nonnull));
struct slice walk_system(const struct walk *w, uint32_t message) __attribute__((nonnull));
bool walk_has_visited(const struct walk *w, uint32_t message) __attribute__((nonnull));
/* The destination that the lines of splitrelay name for a copy; len 0: none. */
struct slice walk_destination(const struct walk *w, uint32_t message) __attribute__((nonnull));

/* Follow a message with all that comes after it. names: the addresses of the recipient in it. */
void trace_way_walk(struct walk *w, uint32_t message, const struct names *names, struct leg leg)
    __attribute__((nonnull));

/* Add an end in this message. hit: the line that says so, or NULL. */
struct trace_end *trace_way_end_in(struct walk *w, enum trace_end_state state, uint32_t message,
                                   struct leg leg, const struct hit *hit)
    __attribute__((nonnull(1), returns_nonnull));
/* The front gave a copy to splitrelay, whose lines are not there: ask the queue about the ids in
 * the front's reply. */
void trace_way_end_behind_front(struct walk *w, uint32_t message, const struct hit *hit,
                                const struct names *names, struct leg leg) __attribute__((nonnull));
/* Add the end of a copy as the queue has it. by_log: the end if the queue cannot be asked. hit: the
 * last line of the log about it, or NULL. */
void trace_way_end_in_relay(struct walk *w, uint32_t message, const struct names *names,
                            struct leg leg, const struct hit *hit, enum trace_end_state by_log)
    __attribute__((nonnull(1, 3)));
/* Does the queue know this copy as one for the recipient? If the queue cannot be asked, that is
 * named as missing. */
bool trace_way_is_copy_for(struct walk *w, uint32_t message, const struct names *names)
    __attribute__((nonnull));
/* Add ends for what splitmilter decided in this message, and of which no line shows what became of
 * it. first: the number of ends before this message. */
void trace_way_expect(struct walk *w, uint32_t message, const struct names *names, size_t first)
    __attribute__((nonnull));
/* Has the MTA given the mail another id, which the log knows? */
bool trace_way_is_requeued(const struct walk *w, uint32_t message) __attribute__((nonnull));
/* Add the end of a recipient that the last line leaves in the queue of an MTA. Of a mail that goes
 * on under another id no end is added. */
void trace_way_end_waiting(struct walk *w, uint32_t message, struct leg leg, const struct hit *hit)
    __attribute__((nonnull(1)));

#endif
