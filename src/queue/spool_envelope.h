/* SPDX-License-Identifier: ISC */
/*
 * spool_envelope: the text at the head of a spool file (docs/queue.md, "The head"): formatting
 * it for a new message, parsing what is found in the spool, and the changes that are made in place
 * after the commit. Pure functions on memory; any thread.
 *
 * A head holds all copies of a message. Nothing in it ever moves: what may change (state letters,
 * reasons, attempts) has a fixed width, and all of it lies in the section of one copy, so that two
 * workers on two copies of one file never write the same bytes.
 */
#ifndef SPLIT_SPOOL_ENVELOPE_H
#define SPLIT_SPOOL_ENVELOPE_H

#include "base/buf.h"
#include "base/err.h"
#include "queue/queue.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SPOOL_HEAD_MAX (8 * 1024 * 1024) /* bytes of a head; more is refused, both ways */
#define SPOOL_VALUE_MAX 2048             /* bytes of one decoded value */
#define SPOOL_ATTEMPTS_MAX 9999          /* stays there */
#define SPOOL_SIZE_AT 24                 /* offset of the content size in a head ... */
#define SPOOL_SIZE_DIGITS 20             /* ... and its width */
#define SPOOL_DESTINATION_MAX (QUEUE_DESTINATION_SIZE - 1) /* bytes of a destination name */

/* The section of one copy. Offsets count from the begin of the section. */
struct spool_envelope_copy {
    char id[QUEUE_ID_SIZE];
    char *destination;
    unsigned attempts;
    struct queue_recipient *recipients;
    size_t recipient_count;
    uint64_t section_at; /* of the "copy" line, from the begin of the file */
    size_t section_len;  /* up to and including its last "rcpt" line */
    size_t id_at;        /* of the id */
    size_t attempts_at;  /* of the four digits */
    uint32_t *state_at;  /* per recipient: of the letter */
    uint32_t *reason_at; /* per recipient: of the padded reason */
};

struct spool_envelope {
    struct queue_message message; /* size_bytes is what the head says */
    struct spool_envelope_copy *copies;
    size_t copy_count;
    size_t section_count; /* copies in the head, also those that were not wanted */
    size_t head_len;      /* where the content begins */
};

/* [0-9A-Za-z], 1 to QUEUE_ID_SIZE - 1 of them. */
bool spool_id_is_valid(const char *id) __attribute__((nonnull));

/* [a-z0-9-], 1 to SPOOL_DESTINATION_MAX of them, no '-' at either end: safe as a file name. */
bool spool_destination_is_valid(const char *name) __attribute__((nonnull));

/*
 * Append the head of a new message to out, which must be empty. The copies have their ids;
 * message->size_bytes is written as it is and may be set later with spool_envelope_set_size().
 * Control characters in reasons become '?'. id_at (copy_count elements) gets the offset of each
 * copy's id. -1 with `err`, out empty: a limit is exceeded, or an id, a destination or a state is
 * not valid.
 */
int spool_envelope_format(const struct queue_message *message, const struct queue_new_copy *copies,
                          size_t copy_count, struct buf *out, size_t *id_at, struct err *err)
    __attribute__((nonnull, warn_unused_result));

/* The text that belongs at SPOOL_SIZE_AT, SPOOL_SIZE_DIGITS bytes and a NUL. */
void spool_envelope_size_text(uint64_t size_bytes, char out[SPOOL_SIZE_DIGITS + 1])
    __attribute__((nonnull));

/* Bytes of the head that begins at data, 0 if its end is not among the len bytes. */
size_t spool_envelope_length(const char *data, size_t len) __attribute__((nonnull));

/*
 * Parse a head of exactly len bytes. id: the only copy that is wanted (the others are checked, but
 * not kept); NULL: all. On 0 the caller releases *out with spool_envelope_clear(); on -1 there is
 * nothing to release and `err` says what is wrong (also when there is no copy with that id).
 */
int spool_envelope_parse(const char *data, size_t len, const char *id, struct spool_envelope *out,
                         struct err *err) __attribute__((nonnull(1, 4, 5), warn_unused_result));

/* Free what the envelope owns. */
void spool_envelope_clear(struct spool_envelope *e) __attribute__((nonnull));

/* Write attempts, states and reasons of c into its section as it was read from the file
 * (section_len bytes). */
void spool_envelope_patch(const struct spool_envelope_copy *c, char *section)
    __attribute__((nonnull));

#endif
