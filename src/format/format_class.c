/* SPDX-License-Identifier: ISC */
#include "format/format_class.h"

#include "mail/address.h"
#include "mail/hdr_address.h"
#include "base/mem.h"
#include "mail/xtext.h"

#include <stdlib.h>
#include <string.h>

enum class { CLASS_TO, CLASS_CC, CLASS_BCC, CLASS_UNKNOWN };

static const char *const class_names[] = {"To", "Cc", "Bcc", "Recipient"};

struct entry {
    char *folded;
    size_t recipient;
    /* in the first of the entries with equal `folded`: the first class in the enum's order that was
     * found so far */
    enum class seen;
};

struct format_class {
    size_t count;
    enum class *classes; /* per recipient */
    char **originals;    /* per recipient, never NULL */
    /* sorted: the address of each recipient, and its original if that is another address */
    struct entry *entries;
    size_t entry_count;
};

/* The form in which addresses are compared. The caller frees. */
static char *fold(const char *text)
{
    struct address a;
    struct err err;
    struct buf out = {0};

    if (address_parse(text, strlen(text), ADDRESS_LENIENT, &a, &err) == 0)
        address_fold(&a, &out);
    else
        buf_adds(&out, text);
    return buf_take(&out);
}

bool format_class_is_same(const char *a, const char *b)
{
    char *fa = fold(a), *fb = fold(b);
    bool is_same = strcmp(fa, fb) == 0;

    free(fa);
    free(fb);
    return is_same;
}

/* The address in an ORCPT, which the caller frees; NULL if there is none. */
static char *decode_orcpt(const char *orcpt)
{
    struct buf out = {0};

    if (xtext_decode_orcpt(orcpt, &out) == 0)
        return buf_take(&out);
    buf_clear(&out);
    return NULL;
}

static void add_entry(struct format_class *c, const char *address, size_t recipient)
{
    c->entries[c->entry_count++] = (struct entry){fold(address), recipient, CLASS_UNKNOWN};
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->folded, ((const struct entry *)b)->folded);
}

static void add_recipients(struct format_class *c, const struct queue_copy *copy)
{
    for (size_t i = 0; i < c->count; i++) {
        const struct queue_recipient *r = &copy->recipients[i];
        char *original = decode_orcpt(r->orcpt);
        c->classes[i] = CLASS_UNKNOWN;
        add_entry(c, r->address, i);
        if (original != NULL && original[0] != '\0' &&
            !format_class_is_same(original, r->address)) {
            add_entry(c, original, i);
        } else {
            free(original);
            original = mem_strdup("");
        }
        c->originals[i] = original;
    }
    qsort(c->entries, c->entry_count, sizeof *c->entries, compare);
}

struct search {
    struct format_class *classes;
    enum class class;
};

/* The first of the entries with this address; NULL: there are none. */
static struct entry *find(const struct format_class *c, const char *folded)
{
    size_t from = 0, to = c->entry_count;

    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (strcmp(c->entries[middle].folded, folded) < 0)
            from = middle + 1;
        else
            to = middle;
    }
    bool is_there = from < c->entry_count && strcmp(c->entries[from].folded, folded) == 0;
    return is_there ? &c->entries[from] : NULL;
}

/* A hdr_address_map that notes the class of an address, and replaces nothing. */
static int note_address(const char *address, struct buf *out, void *ctx)
{
    struct search *s = ctx;
    struct format_class *c = s->classes;
    char *folded = fold(address);
    struct entry *found = find(c, folded);

    (void)out;
    if (found != NULL && s->class < found->seen) {
        found->seen = s->class;
        for (; found < c->entries + c->entry_count && strcmp(found->folded, folded) == 0; found++)
            if (s->class < c->classes[found->recipient])
                c->classes[found->recipient] = s->class;
    }
    free(folded);
    return 0;
}

/* Call map for each address of a field. */
static void read_field(const struct format_field *field, hdr_address_map *map, void *ctx)
{
    struct buf body = {0};
    struct buf ignored = {0};

    format_field_text(field, &body);
    if (hdr_address_rewrite(buf_str(&body), map, ctx, &ignored) > 0)
        abort(); /* maps here replace nothing */
    buf_clear(&body);
    buf_clear(&ignored);
}

struct format_class *format_class_new(const struct format_scan *scan, const struct queue_copy *copy)
{
    struct format_class *c = mem_zalloc(sizeof *c);
    struct format_field field;
    size_t at = 0;

    c->count = copy->recipient_count;
    c->classes = mem_grow(NULL, c->count, sizeof *c->classes);
    c->originals = mem_grow(NULL, c->count, sizeof *c->originals);
    c->entries = mem_grow(NULL, 2 * c->count, sizeof *c->entries);
    add_recipients(c, copy);
    while (format_scan_next(scan, &at, &field)) {
        struct search s = {c, CLASS_TO};
        while (s.class < CLASS_UNKNOWN && !format_field_is(&field, class_names[s.class]))
            s.class ++;
        if (s.class < CLASS_UNKNOWN)
            read_field(&field, note_address, &s);
    }
    return c;
}

void format_class_free(struct format_class *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->count; i++)
        free(c->originals[i]);
    for (size_t i = 0; i < c->entry_count; i++)
        free(c->entries[i].folded);
    free(c->classes);
    free(c->originals);
    free(c->entries);
    free(c);
}

const char *format_class_name(const struct format_class *c, size_t recipient)
{
    return class_names[c->classes[recipient]];
}

const char *format_class_original(const struct format_class *c, size_t recipient)
{
    return c->originals[recipient];
}

/* A hdr_address_map that keeps the first address, and replaces nothing. */
static int keep_first(const char *address, struct buf *out, void *ctx)
{
    char **first = ctx;

    (void)out;
    *first = mem_strdup(address);
    return -1; /* stops the search */
}

char *format_class_first(const struct format_scan *scan, const char *name)
{
    struct format_field field;
    char *first = NULL;
    size_t at = 0;

    while (first == NULL && format_scan_next(scan, &at, &field)) {
        if (format_field_is(&field, name)) {
            read_field(&field, keep_first, &first);
            break;
        }
    }
    return first != NULL ? first : mem_strdup("");
}
