/* SPDX-License-Identifier: ISC */
#include "disk.h"

#include "base/fdio.h"
#include "base/mem.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum safety { SAFETY_OPEN, SAFETY_DOOMED, SAFETY_SAFE };

struct pending {
    const struct disk_entry *entry;
    enum safety safety;
};

struct name {
    const char *name;
    size_t object;
};

/* What is on the disk for certain, and what has happened since. */
struct object {
    bool is_directory;
    uint64_t inode;
    char *path; /* the first one */
    char *data;
    size_t len, size;
    struct name *names;
    size_t name_count, names_size;
    struct pending *pending;
    size_t pending_count, pending_size;
};

struct disk {
    struct disk_entry *entries;
    size_t entry_count, entries_size;
    size_t at; /* entries that have happened */
    struct object *objects;
    size_t object_count, objects_size;
    struct disk_change *changes;
    size_t changes_size;
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "disk: %s\n", what);
    exit(70);
}

#define GROW(array, count, size)                                                                   \
    do {                                                                                           \
        if ((count) == (size)) {                                                                   \
            (size) = (size) == 0 ? 16 : (size)*2;                                                  \
            (array) = mem_grow((array), (size), sizeof *(array));                                  \
        }                                                                                          \
    } while (0)

/* --- loading --- */

static size_t add_object(struct disk *d, uint64_t inode, bool is_directory, char *path)
{
    GROW(d->objects, d->object_count, d->objects_size);
    d->objects[d->object_count] =
        (struct object){.inode = inode, .is_directory = is_directory, .path = path};
    return d->object_count++;
}

/* The one that was created last. */
static size_t find_object(const struct disk *d, uint64_t inode)
{
    for (size_t i = d->object_count; i > 0; i--)
        if (d->objects[i - 1].inode == inode)
            return i - 1;
    fprintf(stderr, "inode %" PRIu64 "\n", inode);
    die("a file that was not created");
}

static void add_entry(struct disk *d, const struct record_entry *r, const char *name,
                      const char *data, size_t number)
{
    struct disk_entry e = {.type = r->type,
                           .name = mem_strndup(name, r->name_len),
                           .data = data,
                           .len = r->data_len,
                           .offset = r->offset,
                           .from = r->from,
                           .number = number};

    if (r->type == RECORD_CREATE_DIRECTORY && r->directory == 0) {
        (void)add_object(d, r->file, true, mem_strdup("")); /* the root */
        free((char *)(uintptr_t)e.name);
        return;
    }
    if (r->directory != 0)
        e.directory = find_object(d, r->directory);
    if (e.type == RECORD_CREATE_FILE || e.type == RECORD_CREATE_DIRECTORY)
        e.object = add_object(d, r->file, e.type == RECORD_CREATE_DIRECTORY,
                              mem_printf("%s/%s", d->objects[e.directory].path, e.name));
    else if (e.type != RECORD_MARK)
        e.object = find_object(d, r->file);
    GROW(d->entries, d->entry_count, d->entries_size);
    d->entries[d->entry_count++] = e;
}

static bool ends_with(const char *text, const char *end)
{
    size_t text_len = strlen(text), end_len = strlen(end);

    return text_len >= end_len && strcmp(text + text_len - end_len, end) == 0;
}

/* Before the last mark: by then nothing was said of the removal, nor was its row gone. */
static void remove_early(struct disk *d, size_t at)
{
    struct disk_entry e = d->entries[at];
    size_t to = at;

    while (to > 0 && d->entries[to - 1].type != RECORD_MARK)
        to--;
    memmove(&d->entries[to + 1], &d->entries[to], (at - to) * sizeof e);
    d->entries[to] = e;
}

static void plant_fault(struct disk *d, const struct disk_plant *plant)
{
    size_t kept = 0;

    for (size_t i = 0; i < d->entry_count; i++) {
        struct disk_entry *e = &d->entries[i];
        bool is_lost = plant->lost_syncs != NULL && e->type == RECORD_SYNC &&
                       ends_with(d->objects[e->object].path, plant->lost_syncs);
        if (!is_lost)
            d->entries[kept++] = *e;
    }
    d->entry_count = kept;
    for (size_t i = 0; i < d->entry_count && plant->early_removes != NULL; i++)
        if (d->entries[i].type == RECORD_UNLINK &&
            ends_with(d->objects[d->entries[i].directory].path, plant->early_removes))
            remove_early(d, i);
}

struct disk *disk_load(const char *path, const struct disk_plant *plant)
{
    struct disk *d = mem_zalloc(sizeof *d);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct buf file = {0};
    struct record_entry r;
    size_t number = 0;

    if (fd < 0 || fdio_read_rest(fd, &file, SIZE_MAX / 2) != 0)
        die("cannot read the record");
    close(fd);
    for (size_t at = 0; at < file.len;) {
        if (file.len - at < sizeof r)
            die("the record is cut off");
        memcpy(&r, file.data + at, sizeof r);
        at += sizeof r;
        if (file.len - at < (size_t)r.name_len + r.data_len)
            die("the record is cut off");
        add_entry(d, &r, file.data + at, file.data + at + r.name_len, number++);
        at += (size_t)r.name_len + r.data_len;
    }
    if (plant != NULL)
        plant_fault(d, plant);
    return d; /* the file's bytes are the entries' */
}

size_t disk_entry_count(const struct disk *d)
{
    return d->entry_count;
}

static void clear_object(struct object *o)
{
    o->len = o->name_count = o->pending_count = 0;
}

void disk_rewind(struct disk *d)
{
    for (size_t i = 0; i < d->object_count; i++)
        clear_object(&d->objects[i]);
    d->at = 0;
}

/* --- what is safe --- */

static void set_name(struct object *o, const char *name, size_t object, bool is_there)
{
    size_t i = 0;

    while (i < o->name_count && strcmp(o->names[i].name, name) != 0)
        i++;
    if (!is_there) {
        if (i < o->name_count)
            o->names[i] = o->names[--o->name_count];
        return;
    }
    if (i == o->name_count) {
        GROW(o->names, o->name_count, o->names_size);
        o->name_count++;
    }
    o->names[i] = (struct name){name, object};
}

static void set_size(struct object *o, size_t len)
{
    if (len > o->size) {
        o->size = len + len / 2 + 4096;
        o->data = mem_grow(o->data, o->size, 1);
    }
    if (len > o->len)
        memset(o->data + o->len, 0, len - o->len);
    o->len = len;
}

static void put_bytes(struct object *o, const struct disk_entry *e, struct disk_choice choice)
{
    uint64_t begin = e->offset, end = e->offset + e->len;

    if (choice.fate == DISK_HEAD)
        end = choice.cut;
    else if (choice.fate == DISK_TAIL)
        begin = choice.cut;
    if (end > o->len)
        set_size(o, end);
    if (choice.fate != DISK_ZERO)
        memcpy(o->data + begin, e->data + (begin - e->offset), end - begin);
}

static void apply(struct object *o, const struct disk_entry *e, struct disk_choice choice)
{
    if (choice.fate == DISK_MISSING)
        return;
    if (e->type == RECORD_WRITE)
        put_bytes(o, e, choice);
    else if (e->type == RECORD_TRUNCATE)
        set_size(o, e->offset);
    else
        set_name(o, e->name, e->object, e->type != RECORD_UNLINK);
}

/* Everything of a change that can be lost is written again by another one. */
static bool is_covered(const struct object *o, size_t at)
{
    const struct disk_entry *lost = o->pending[at].entry;

    for (size_t i = at + 1; i < o->pending_count; i++) {
        const struct disk_entry *e = o->pending[i].entry;
        if (o->pending[i].safety == SAFETY_SAFE && e->type == RECORD_WRITE &&
            lost->type == RECORD_WRITE && e->offset <= lost->offset &&
            e->offset + e->len >= lost->offset + lost->len)
            return true;
    }
    return false;
}

/* Changes before `from` are on the disk. */
static void sync_object(struct object *o, uint64_t from)
{
    size_t kept = 0, last = 0;
    const struct disk_choice there = {.fate = DISK_THERE};

    for (size_t i = 0; i < o->pending_count; i++) {
        struct pending *p = &o->pending[i];
        if (p->safety == SAFETY_OPEN && p->entry->number < from) {
            p->safety = SAFETY_SAFE;
            last = i;
        }
    }
    for (size_t i = 0; i < last && o->is_directory; i++)
        o->pending[i].safety = SAFETY_SAFE;
    for (size_t i = 0; i < o->pending_count; i++) {
        if (o->pending[i].safety == SAFETY_DOOMED && is_covered(o, i))
            continue;
        if (o->pending[i].safety == SAFETY_SAFE && kept == 0)
            apply(o, o->pending[i].entry, there);
        else
            o->pending[kept++] = o->pending[i];
    }
    o->pending_count = kept;
}

const struct disk_entry *disk_advance(struct disk *d)
{
    if (d->at == d->entry_count)
        return NULL;
    const struct disk_entry *e = &d->entries[d->at++];
    struct object *o = &d->objects[e->object];
    switch (e->type) {
    case RECORD_CREATE_FILE:
    case RECORD_CREATE_DIRECTORY:
    case RECORD_LINK:
    case RECORD_UNLINK:
        o = &d->objects[e->directory];
        /* fall through */
    case RECORD_WRITE:
    case RECORD_TRUNCATE:
        GROW(o->pending, o->pending_count, o->pending_size);
        o->pending[o->pending_count++] = (struct pending){e, SAFETY_OPEN};
        break;
    case RECORD_SYNC:
        sync_object(o, e->from);
        break;
    case RECORD_SYNC_FAILED:
        for (size_t i = 0; i < o->pending_count; i++)
            if (o->pending[i].safety == SAFETY_OPEN && o->pending[i].entry->number < e->from)
                o->pending[i].safety = SAFETY_DOOMED;
        break;
    case RECORD_MARK:
        break;
    }
    return e;
}

const struct disk_change *disk_changes(struct disk *d, size_t *count_out)
{
    size_t count = 0;

    for (size_t i = 0; i < d->object_count; i++)
        for (size_t k = 0; k < d->objects[i].pending_count; k++)
            if (d->objects[i].pending[k].safety != SAFETY_SAFE) {
                GROW(d->changes, count, d->changes_size);
                d->changes[count++] = (struct disk_change){i, d->objects[i].pending[k].entry};
            }
    *count_out = count;
    return d->changes;
}

void disk_free(struct disk *d)
{
    for (size_t i = 0; i < d->object_count; i++) {
        free(d->objects[i].path);
        free(d->objects[i].data);
        free(d->objects[i].names);
        free(d->objects[i].pending);
    }
    for (size_t i = 0; i < d->entry_count; i++)
        free((char *)(uintptr_t)d->entries[i].name);
    free(d->objects);
    free(d->entries);
    free(d->changes);
    free(d);
}

/* --- states --- */

/* A copy of what is safe, with the choices applied. */
static struct object build_object(const struct object *o, const struct disk_choice *choices)
{
    const struct disk_choice there = {.fate = DISK_THERE};
    struct object out = {.is_directory = o->is_directory};

    set_size(&out, o->len);
    if (o->len > 0)
        memcpy(out.data, o->data, o->len);
    for (size_t i = 0; i < o->name_count; i++)
        set_name(&out, o->names[i].name, o->names[i].object, true);
    for (size_t i = 0; i < o->pending_count; i++) {
        bool is_safe = o->pending[i].safety == SAFETY_SAFE;
        apply(&out, o->pending[i].entry, is_safe ? there : *choices);
        choices += is_safe ? 0 : 1;
    }
    return out;
}

static uint64_t mix(uint64_t hash, const void *data, size_t len)
{
    const char *p = data;
    uint64_t word;

    for (hash ^= len; len >= sizeof word; len -= sizeof word, p += sizeof word) {
        memcpy(&word, p, sizeof word);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15U;
        hash ^= hash >> 29;
    }
    word = 0;
    if (len > 0)
        memcpy(&word, p, len);
    hash = (hash ^ word) * 0xbf58476d1ce4e5b9U;
    return hash ^ hash >> 32;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->name, ((const struct name *)b)->name);
}

static void add_nodes(struct disk *d, size_t number, const struct disk_choice *const *choices,
                      char *path, struct disk_state *out)
{
    struct object o = build_object(&d->objects[number], choices[number]);

    out->nodes = mem_grow(out->nodes, out->count + 1, sizeof *out->nodes);
    out->nodes[out->count++] = (struct disk_node){
        .path = path, .is_directory = o.is_directory, .data = o.data, .len = o.len};
    out->hash = mix(mix(out->hash, path, strlen(path)), o.data, o.len);
    if (o.name_count > 0)
        qsort(o.names, o.name_count, sizeof *o.names, compare_names);
    for (size_t i = 0; i < o.name_count; i++)
        add_nodes(d, o.names[i].object, choices, mem_printf("%s/%s", path, o.names[i].name), out);
    free(o.names);
}

void disk_build(struct disk *d, const struct disk_choice *choices, struct disk_state *out)
{
    const struct disk_choice **by_object = mem_grow(NULL, d->object_count, sizeof *by_object);

    for (size_t i = 0; i < d->object_count; i++) {
        by_object[i] = choices;
        for (size_t k = 0; k < d->objects[i].pending_count; k++)
            choices += d->objects[i].pending[k].safety != SAFETY_SAFE;
    }
    *out = (struct disk_state){0};
    add_nodes(d, 0, by_object, mem_strdup(""), out);
    free(by_object);
}

void disk_state_clear(struct disk_state *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->nodes[i].path);
        free(s->nodes[i].data);
    }
    free(s->nodes);
    *s = (struct disk_state){0};
}

void disk_state_write(const struct disk_state *s, const char *directory)
{
    for (size_t i = 1; i < s->count; i++) {
        const struct disk_node *n = &s->nodes[i];
        char *path = mem_printf("%s%s", directory, n->path);
        if (n->is_directory) {
            if (mkdir(path, 0700) != 0)
                die(path);
        } else {
            int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
            if (fd < 0 || (n->len > 0 && fdio_write_all(fd, n->data, n->len) != 0) ||
                close(fd) != 0)
                die(path);
        }
        free(path);
    }
}

void disk_describe(const struct disk *d, const struct disk_entry *e, char *out, size_t size)
{
    static const char *const types[] = {"?",     "create",   "mkdir", "link",        "unlink",
                                        "write", "truncate", "sync",  "sync failed", "mark"};

    if (e->type == RECORD_MARK)
        snprintf(out, size, "%zu mark %.*s", e->number, (int)e->len, e->data);
    else if (e->name[0] != '\0')
        snprintf(out, size, "%zu %s %s/%s", e->number, types[e->type],
                 d->objects[e->directory].path, e->name);
    else
        snprintf(out, size, "%zu %s %s %" PRIu64 "+%zu", e->number, types[e->type],
                 d->objects[e->object].path, e->offset, e->len);
}
