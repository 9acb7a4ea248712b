/* SPDX-License-Identifier: ISC */
/*
 * power_replay: makes the states that a disk may have after a power failure (disk.h, choose.h) at
 * any place of a record, each different one once, and checks each of them (check.h).
 *
 *   power_replay RECORD SCRATCH [OPTION=VALUE...]
 *     states=N          so many different states (10000)
 *     seed=N            another choice of them
 *     sparse=N          at one in N places of the record, at random, in each round; none of the
 *                       changes first (for a few states of many records)
 *     part=I/N          the I-th (from 0) of N processes that share the states
 *     lost-syncs=PATH   planted faults, see disk.h
 *     early-removes=PATH
 *     wrong=N           stop after so many states that are wrong (10)
 *     keep=DIRECTORY    leave the wrong states there
 *     trace=1           print the record, and check nothing
 *     now=DIRECTORY     check what is there, against the promises of the whole record: what a
 *                       process that was killed has left. It is changed
 *
 * SCRATCH is a directory for the states, best in memory. Prints "states N wrong N". Exit status 0:
 * none is wrong; 1: some are; else it did not work.
 */
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "check.h"
#include "choose.h"
#include "disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROUNDS_MAX 100000
#define STALE_ROUNDS 20 /* without a new state: there are no others */
#define STATE_SECONDS 120

struct replay {
    const char *record, *scratch, *keep, *now;
    struct disk_plant plant;
    uint64_t states_max, seed, part, parts, wrong_max, sparse;
    bool is_trace;

    struct disk *disk;
    struct promises promises;
    uint64_t *seen; /* hash table of hashes */
    size_t seen_size;
    uint64_t states, wrong;
    struct disk_choice *choices;
    size_t choices_size;
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "power_replay: %s\n", what);
    exit(70);
}

/* --- directories --- */

static void remove_below(int fd)
{
    DIR *dir = fdopendir(fd);
    struct dirent *e;

    while (dir != NULL && (e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            unlinkat(fd, e->d_name, 0) == 0)
            continue;
        int sub = openat(fd, e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (sub >= 0)
            remove_below(sub);
        if (unlinkat(fd, e->d_name, AT_REMOVEDIR) != 0)
            die("cannot empty the scratch directory");
    }
    closedir(dir);
}

static void make_empty(const char *path)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        die(path);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        die(path);
    remove_below(fd);
}

/* --- states --- */

/* False: it was there before. The promises count, too: the same state may be right before one, and
 * wrong after it. */
static bool add_seen(struct replay *r, uint64_t hash, uint64_t place)
{
    hash = (hash ^ place) * 0x9e3779b97f4a7c15U | 1;
    for (size_t slot = hash >> 20;; slot++) {
        slot %= r->seen_size;
        if (r->seen[slot] == hash)
            return false;
        if (r->seen[slot] == 0) {
            r->seen[slot] = hash;
            return true;
        }
    }
}

static void report(struct replay *r, const struct disk_state *state, const struct disk_entry *after,
                   uint64_t round, const char *why)
{
    char text[300];
    size_t count;
    const struct disk_change *changes = disk_changes(r->disk, &count);
    static const char *const fates[] = {"there", "missing", "head", "tail", "zeros"};
    unsigned kinds[5] = {0};

    disk_describe(r->disk, after, text, sizeof text);
    printf("wrong: after %s (round %" PRIu64 ")\n  last mark: %s\n", text, round,
           r->promises.last_note);
    for (size_t i = 0; i < count; i++) {
        disk_describe(r->disk, changes[i].entry, text, sizeof text);
        if (kinds[r->choices[i].fate]++ < 6)
            printf("  %-7s %s\n", fates[r->choices[i].fate], text);
    }
    printf("  there %u missing %u head %u tail %u zeros %u\n  -> %s", kinds[0], kinds[1], kinds[2],
           kinds[3], kinds[4], why);
    fflush(stdout);
    if (r->keep != NULL) {
        char *path = mem_printf("%s/%" PRIu64 "-%" PRIu64, r->keep, r->part, r->wrong);
        make_empty(path);
        disk_state_write(state, path);
        free(path);
    }
}

static void look_at(struct replay *r, const struct disk_entry *after, uint64_t place,
                    uint64_t round)
{
    size_t count;
    const struct disk_change *changes = disk_changes(r->disk, &count);
    struct disk_state state;
    struct buf why = {0};

    if (count > r->choices_size) {
        r->choices_size = count * 2;
        r->choices = mem_grow(r->choices, r->choices_size, sizeof *r->choices);
    }
    if (round > 0 && count == 0)
        return;
    choose(changes, count, r->seed, place, round, r->choices);
    disk_build(r->disk, r->choices, &state);
    if (state.hash % r->parts == r->part && add_seen(r, state.hash, r->promises.version)) {
        make_empty(r->scratch);
        disk_state_write(&state, r->scratch);
        alarm(STATE_SECONDS);
        if (!check_state(r->scratch, &r->promises, &why)) {
            r->wrong++;
            report(r, &state, after, round, buf_str(&why));
        }
        alarm(0);
        r->states++;
    }
    buf_clear(&why);
    disk_state_clear(&state);
}

static bool is_place(const struct replay *r, uint64_t place, uint64_t round)
{
    uint64_t x = (r->seed * 31 + round) * 0x9e3779b97f4a7c15U ^ place * 0xd1342543de82ef95U;

    x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9U;
    return r->sparse <= 1 || place + 1 == disk_entry_count(r->disk) || (x >> 33) % r->sparse == 0;
}

/* False: enough. */
static bool play(struct replay *r, uint64_t round)
{
    const struct disk_entry *e;
    char text[300];

    disk_rewind(r->disk);
    promises_clear(&r->promises);
    for (uint64_t place = 0; (e = disk_advance(r->disk)) != NULL; place++) {
        if (r->is_trace) {
            disk_describe(r->disk, e, text, sizeof text);
            printf("%s\n", text);
            continue;
        }
        if (e->type == RECORD_MARK)
            promises_take(&r->promises, e->data, e->len);
        if (r->states >= r->states_max || r->wrong >= r->wrong_max)
            return false;
        if (is_place(r, place, round))
            look_at(r, e, place, r->sparse > 1 && round < 2 ? 1 - round : round);
    }
    return !r->is_trace;
}

static void check_now(struct replay *r)
{
    const struct disk_entry *e;
    struct buf why = {0};

    disk_rewind(r->disk);
    while ((e = disk_advance(r->disk)) != NULL)
        if (e->type == RECORD_MARK)
            promises_take(&r->promises, e->data, e->len);
    r->states = 1;
    r->wrong = !check_state(r->now, &r->promises, &why);
    if (r->wrong)
        printf("wrong: after %s\n  -> %s", r->promises.last_note, buf_str(&why));
    buf_clear(&why);
}

static void set_option(struct replay *r, const char *option)
{
    if (sscanf(option, "states=%" SCNu64, &r->states_max) == 1 ||
        sscanf(option, "seed=%" SCNu64, &r->seed) == 1 ||
        sscanf(option, "sparse=%" SCNu64, &r->sparse) == 1 ||
        sscanf(option, "part=%" SCNu64 "/%" SCNu64, &r->part, &r->parts) == 2 ||
        sscanf(option, "wrong=%" SCNu64, &r->wrong_max) == 1)
        return;
    if (strncmp(option, "lost-syncs=", 11) == 0)
        r->plant.lost_syncs = option + 11;
    else if (strncmp(option, "early-removes=", 14) == 0)
        r->plant.early_removes = option + 14;
    else if (strncmp(option, "keep=", 5) == 0)
        r->keep = option + 5;
    else if (strncmp(option, "now=", 4) == 0)
        r->now = option + 4;
    else if (strcmp(option, "trace=1") == 0)
        r->is_trace = true;
    else
        die(option);
}

int main(int argc, char **argv)
{
    struct replay r = {.states_max = 10000, .seed = 1, .parts = 1, .wrong_max = 10};
    uint64_t before, stale = 0;
    struct err err;

    if (argc < 3 || log_open("power_replay", "stderr", "mail", "error", &err) != 0)
        return 64;
    r.record = argv[1];
    r.scratch = argv[2];
    for (int i = 3; i < argc; i++)
        set_option(&r, argv[i]);
    r.states_max = (r.states_max + r.parts - 1) / r.parts;
    r.seen_size = r.states_max * 2 + 1;
    r.seen = mem_zalloc(r.seen_size * sizeof *r.seen);
    r.disk = disk_load(r.record, &r.plant);
    if (r.now != NULL)
        check_now(&r);
    for (uint64_t round = 0; r.now == NULL && round < ROUNDS_MAX && stale < STALE_ROUNDS; round++) {
        before = r.states;
        if (!play(&r, round))
            break;
        stale = r.states == before ? stale + 1 : 0;
    }
    make_empty(r.scratch);
    printf("states %" PRIu64 " wrong %" PRIu64 "\n", r.states, r.wrong);
    disk_free(r.disk);
    free(r.promises.items);
    free(r.seen);
    free(r.choices);
    return r.wrong > 0;
}
