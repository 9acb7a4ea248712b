/* SPDX-License-Identifier: ISC */
#include "ctl/unit.h"
#include "base/mem.h"
#include "ctl/setup/command.h"

#include <stdlib.h>
#include <string.h>

enum access { ACCESS_FULL, ACCESS_READ, ACCESS_NONE };

/* The access that one setting of the unit gives to a path and to all below it. */
struct rule {
    const char *path;
    enum access access;
    const char *setting;
};

struct search {
    const char *path;
    size_t best_len;
    struct rule best;
};

static void add_words(struct string_list *to, const char *value, const char *prefix)
{
    char *words = mem_strdup(value), *saved = NULL;

    for (char *w = strtok_r(words, " ", &saved); w != NULL; w = strtok_r(NULL, " ", &saved)) {
        w += strspn(w, "-+"); /* "-": the path may be missing; "+": it is below RootDirectory= */
        to->items = mem_grow(to->items, to->count + 1, sizeof *to->items);
        to->items[to->count++] = mem_printf("%s%s", prefix, w);
    }
    free(words);
}

static void set(char **to, const char *value)
{
    free(*to);
    *to = mem_strdup(value);
}

static bool is_one_of(const char *word, const char *const *words)
{
    while (*words != NULL && strcmp(word, *words) != 0)
        words++;
    return *words != NULL;
}

static void take_state(struct unit *u, const char *name, const char *value)
{
    static const char *const enabled[] = {"enabled", "enabled-runtime", "alias", NULL};
    static const char *const active[] = {"active", "activating", "reloading", "failed", NULL};

    if (strcmp(name, "LoadState") == 0)
        u->is_known = strcmp(value, "loaded") == 0 || strcmp(value, "masked") == 0;
    else if (strcmp(name, "UnitFileState") == 0)
        u->is_enabled |= is_one_of(value, enabled);
    else if (strcmp(name, "TriggeredBy") == 0)
        u->is_by_socket = value[0] != '\0';
    else if (strcmp(name, "ActiveState") == 0)
        u->is_active = is_one_of(value, active);
    else if (strcmp(name, "MainPID") == 0)
        u->main_pid = (pid_t)strtol(value, NULL, 10);
}

/* Take one line of `systemctl show': NAME=VALUE. */
static void take(void *ctx, const char *line)
{
    struct unit *u = ctx;
    const struct {
        const char *name;
        char **text;
        struct string_list *list;
        const char *prefix;
    } members[] = {{"User", &u->user, NULL, ""},
                   {"Group", &u->group, NULL, ""},
                   {"AmbientCapabilities", &u->ambient, NULL, ""},
                   {"ProtectSystem", &u->protect_system, NULL, ""},
                   {"ProtectHome", &u->protect_home, NULL, ""},
                   {"PrivateTmp", &u->private_tmp, NULL, ""},
                   {"PrivateUsers", &u->private_users, NULL, ""},
                   {"SupplementaryGroups", NULL, &u->groups, ""},
                   {"ReadWritePaths", NULL, &u->writable, ""},
                   {"StateDirectory", NULL, &u->writable, "/var/lib/"},
                   {"CacheDirectory", NULL, &u->writable, "/var/cache/"},
                   {"LogsDirectory", NULL, &u->writable, "/var/log/"},
                   {"RuntimeDirectory", NULL, &u->writable, "/run/"},
                   {"ReadOnlyPaths", NULL, &u->read_only, ""},
                   {"InaccessiblePaths", NULL, &u->hidden, ""}};
    const char *equals = strchr(line, '=');

    if (equals == NULL)
        return;
    char *name = mem_strndup(line, (size_t)(equals - line));
    take_state(u, name, equals + 1);
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        if (strcmp(name, members[i].name) != 0)
            continue;
        if (members[i].text != NULL)
            set(members[i].text, equals + 1);
        if (members[i].list != NULL)
            add_words(members[i].list, equals + 1, members[i].prefix);
    }
    free(name);
}

void unit_read(const char *name, struct unit *out)
{
    char *service = mem_printf("%s.service", name);
    const char *argv[] = {"systemctl", "show", "--no-pager", service, NULL};
    struct err ignored;

    memset(out, 0, sizeof *out);
    out->name = mem_strdup(name);
    char **const texts[] = {&out->user,           &out->group,        &out->ambient,
                            &out->protect_system, &out->protect_home, &out->private_tmp,
                            &out->private_users};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        *texts[i] = mem_strdup("");
    if (command_each_line(argv, take, out, &ignored) < 0)
        out->is_known = false;
    if (!out->is_known)
        out->is_enabled = out->is_active = out->is_by_socket = false;
    out->is_enabled = out->is_enabled || out->is_by_socket;
    if (!out->is_active)
        out->main_pid = 0;
    free(service);
}

void unit_clear(struct unit *u)
{
    struct string_list *const lists[] = {&u->groups, &u->writable, &u->read_only, &u->hidden};

    free(u->name);
    free(u->user);
    free(u->group);
    free(u->ambient);
    free(u->protect_system);
    free(u->protect_home);
    free(u->private_tmp);
    free(u->private_users);
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        string_list_clear(lists[i]);
    memset(u, 0, sizeof *u);
}

/* Apply a rule if the searched path (s->path) is the path of the rule or below it. A hidden
 * directory hides everything below it; otherwise the longest path wins, and of two equal paths the
 * later rule. */
static void consider(struct search *s, const char *path, enum access access, const char *setting)
{
    size_t len = strlen(path);

    while (len > 0 && path[len - 1] == '/')
        len--;
    bool is_below =
        strncmp(s->path, path, len) == 0 && (s->path[len] == '/' || s->path[len] == '\0');
    if (!is_below || s->best.access == ACCESS_NONE || (len < s->best_len && access != ACCESS_NONE))
        return;
    s->best_len = len;
    s->best = (struct rule){path, access, setting};
}

static void consider_all(struct search *s, const char *const *paths, enum access access,
                         const char *setting)
{
    for (; *paths != NULL; paths++)
        consider(s, *paths, access, setting);
}

static void consider_list(struct search *s, const struct string_list *list, enum access access,
                          const char *setting)
{
    for (size_t i = 0; i < list->count; i++)
        consider(s, list->items[i], access, setting);
}

static void consider_protection(struct search *s, const struct unit *u)
{
    static const char *const system[] = {"/usr", "/boot", "/efi", NULL};
    static const char *const etc[] = {"/etc", NULL}, *const all[] = {"/", NULL};
    static const char *const devices[] = {"/dev", "/proc", "/sys", NULL};
    static const char *const homes[] = {"/home", "/root", "/run/user", NULL};
    static const char *const tmp[] = {"/tmp", "/var/tmp", NULL};
    static const char *const off[] = {"", "no", NULL};
    bool is_strict = strcmp(u->protect_system, "strict") == 0;

    if (is_strict)
        consider_all(s, all, ACCESS_READ, "ProtectSystem=strict, and no ReadWritePaths= names it");
    if (is_strict)
        consider_all(s, devices, ACCESS_FULL, "");
    if (!is_one_of(u->protect_system, off))
        consider_all(s, system, ACCESS_READ, "ProtectSystem=");
    if (strcmp(u->protect_system, "full") == 0)
        consider_all(s, etc, ACCESS_READ, "ProtectSystem=full");
    if (strcmp(u->protect_home, "read-only") == 0)
        consider_all(s, homes, ACCESS_READ, "ProtectHome=read-only");
    else if (!is_one_of(u->protect_home, off))
        consider_all(s, homes, ACCESS_NONE, "ProtectHome=");
    if (!is_one_of(u->private_tmp, off))
        consider_all(s, tmp, ACCESS_NONE, "PrivateTmp=");
}

int unit_allows(const struct unit *u, const char *path, bool to_write, struct err *err)
{
    struct search s = {.path = path};

    if (!u->is_known)
        return 0;
    consider_protection(&s, u);
    consider_list(&s, &u->writable, ACCESS_FULL, "");
    consider_list(&s, &u->read_only, ACCESS_READ, "ReadOnlyPaths=");
    consider_list(&s, &u->hidden, ACCESS_NONE, "InaccessiblePaths=");
    if (s.best.access == ACCESS_FULL || (s.best.access == ACCESS_READ && !to_write))
        return 0;
    err_set(err, "%s for %s.service (%s); systemctl edit %s changes that",
            s.best.access == ACCESS_READ ? "read-only" : "not visible", u->name, s.best.setting,
            u->name);
    return -1;
}
