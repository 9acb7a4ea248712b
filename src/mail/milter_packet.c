/* SPDX-License-Identifier: ISC */
#include "mail/milter_packet.h"

#include <string.h>

#define LENGTH_SIZE 4
#define OPTIONS_SIZE 12 /* version, actions, steps */
#define STEPS_AT (LENGTH_SIZE + 1 + 8)

/* Commands that get no reply if this bit is set in the steps of the milter's answer to 'O'
 * (SMFIP_NR_* in libmilter/mfdef.h). */
static const struct {
    char command;
    uint32_t step;
} no_reply[] = {
    {'L', 0x80},    {'C', 0x1000},  {'H', 0x2000},  {'M', 0x4000},  {'R', 0x8000},
    {'T', 0x10000}, {'U', 0x20000}, {'N', 0x40000}, {'B', 0x80000},
};

static uint32_t read_number(const char *data)
{
    const unsigned char *p = (const unsigned char *)data;

    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool has_reply(const struct milter_packets *m, char command)
{
    for (size_t i = 0; i < sizeof no_reply / sizeof *no_reply; i++)
        if (no_reply[i].command == command)
            return (m->steps & no_reply[i].step) == 0;
    return strchr("DAKQ", command) == NULL;
}

static bool is_strings(const char *data, size_t len)
{
    return len > 0 && data[len - 1] == '\0';
}

static bool is_macros(const char *data, size_t len)
{
    size_t strings = 0;

    if (len == 0)
        return false;
    if (len == 1)
        return true; /* a stage without macros */
    if (data[len - 1] != '\0')
        return false;
    for (size_t i = 1; i < len; i++)
        strings += data[i] == '\0';
    return strings % 2 == 0;
}

static bool is_connect(const char *data, size_t len)
{
    const char *end = memchr(data, '\0', len);

    return end != NULL && end + 1 < data + len;
}

static bool is_data_valid(char command, const char *data, size_t len)
{
    switch (command) {
    case 'O':
        return len >= OPTIONS_SIZE;
    case 'D':
        return is_macros(data, len);
    case 'C':
        return is_connect(data, len);
    case 'M':
    case 'R':
    case 'H':
    case 'L':
    case 'U':
        return is_strings(data, len);
    case 'B':
    case 'E':
    case 'A':
    case 'K':
    case 'N':
    case 'Q':
    case 'T':
        return true;
    default:
        return false;
    }
}

static int check_packet(struct milter_packets *m, const char *packet, size_t len, struct err *err)
{
    char command = packet[0];

    if ((command == 'O') == m->has_begun) {
        err_set(err, m->has_begun ? "a second negotiation" : "no negotiation");
        return -1;
    }
    m->has_begun = true;
    m->has_ended |= command == 'Q';
    if (!is_data_valid(command, packet + 1, len - 1)) {
        err_set(err, "a malformed packet (command 0x%02x, %zu bytes)",
                (unsigned)(unsigned char)command, len);
        return -1;
    }
    return 0;
}

ptrdiff_t milter_packets_check(struct milter_packets *m, const char *data, size_t len,
                               size_t *due_out, struct err *err)
{
    size_t done = 0;

    *due_out = 0;
    while (len - done >= LENGTH_SIZE) {
        size_t size = read_number(data + done);
        if (size == 0 || size > MILTER_PACKET_MAX) {
            err_set(err, "a packet of %zu bytes; allowed: 1 to %d", size, MILTER_PACKET_MAX);
            return -1;
        }
        if (len - done - LENGTH_SIZE < size)
            break;
        if (check_packet(m, data + done + LENGTH_SIZE, size, err) != 0)
            return -1;
        char command = data[done + LENGTH_SIZE];
        done += LENGTH_SIZE + size;
        if (has_reply(m, command))
            *due_out = done;
    }
    return (ptrdiff_t)done;
}

size_t milter_packets_answer(const char *data, size_t len)
{
    if (len < LENGTH_SIZE + 1 + OPTIONS_SIZE || data[LENGTH_SIZE] != 'O')
        return 0;
    size_t size = read_number(data);
    return size < 1 + OPTIONS_SIZE || len - LENGTH_SIZE < size ? 0 : LENGTH_SIZE + size;
}

void milter_packets_learn(struct milter_packets *m, const char *data, size_t len)
{
    if (milter_packets_answer(data, len) > 0)
        m->steps = read_number(data + STEPS_AT);
}
