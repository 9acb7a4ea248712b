/* SPDX-License-Identifier: ISC */
#include "policy/policy_choice.h"
#include "base/mem.h"
#include "base/ascii.h"
#include "base/hash.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* "12%", "0.5%", "100%" -> hundredths of a percent; -1 for anything else */
static int parse_percent(const char *s, size_t len)
{
    unsigned whole = 0, fraction = 0, digits = 0;
    size_t i = 0;

    for (; i < len && ascii_is_digit(s[i]) && i < 3; i++)
        whole = whole * 10 + (unsigned)(s[i] - '0');
    if (i == 0)
        return -1;
    if (i < len && s[i] == '.') {
        for (i++; i < len && ascii_is_digit(s[i]) && digits < 2; i++, digits++)
            fraction = fraction * 10 + (unsigned)(s[i] - '0');
        if (digits == 0)
            return -1;
        if (digits == 1)
            fraction *= 10;
    }
    if (i + 1 != len || s[i] != '%' || whole * 100 + fraction > POLICY_SHARES)
        return -1;
    return (int)(whole * 100 + fraction);
}

static int add_percent(struct policy_choices *c, const char *word, size_t len, struct err *err)
{
    int share = parse_percent(word, len);

    if (share < 0) {
        err_set(err, "\"%.*s\" is no percentage: allowed are 0%% to 100%%, two decimals at most",
                (int)len, word);
        return -1;
    }
    if (c->count == 0 || c->items[c->count - 1].has_share) {
        err_set(err, "percentage \"%.*s\" has no name before it", (int)len, word);
        return -1;
    }
    c->items[c->count - 1].share = (unsigned)share;
    c->items[c->count - 1].has_share = true;
    return 0;
}

static int add_name(struct policy_choices *c, const char *word, size_t len, struct err *err)
{
    if (c->count == POLICY_CHOICES_MAX) {
        err_set(err, "more than %d names", POLICY_CHOICES_MAX);
        return -1;
    }
    c->items[c->count].name = mem_strndup(word, len);
    c->items[c->count].share = POLICY_SHARES;
    c->items[c->count].has_share = false;
    c->count++;
    return 0;
}

int policy_choices_parse(const char *value, struct policy_choices *out, struct err *err)
{
    static const char separators[] = ", \t\r\n";

    out->count = 0;
    const char *p = value + strspn(value, separators);
    if (*p == '\0') {
        err_set(err, "empty result: give a name, or none");
        return -1;
    }
    while (*p != '\0') {
        size_t len = strcspn(p, separators);
        int rc = p[len - 1] == '%' ? add_percent(out, p, len, err) : add_name(out, p, len, err);
        if (rc != 0) {
            policy_choices_clear(out);
            return -1;
        }
        p += len;
        p += strspn(p, separators);
    }
    if (out->count == 1 && ascii_equal(out->items[0].name, "none") && !out->items[0].has_share)
        policy_choices_clear(out);
    return 0;
}

void policy_choices_clear(struct policy_choices *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->items[i].name);
    c->count = 0;
}

unsigned policy_share_of(const char *folded_address)
{
    uint64_t h = hash_fnv1a_64(folded_address);

    return (uint32_t)(h ^ h >> 32) % POLICY_SHARES;
}

int policy_choose_one(const struct policy_choices *c, unsigned share_of_address)
{
    unsigned sum = 0;

    for (size_t i = 0; i < c->count; i++) {
        sum += c->items[i].share;
        if (share_of_address < sum)
            return (int)i;
    }
    return -1;
}
