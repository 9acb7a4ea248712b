/* SPDX-License-Identifier: ISC */
/*
 * noop_all: a milter that has every callback and does nothing. It shows the least that an ordinary
 * milter costs; bench.py compares splitmilter with it.
 *
 *     noop_all SOCKET        e.g. unix:/path or inet:PORT@127.0.0.1
 */
#include <libmilter/mfapi.h>

#include <stdio.h>
#include <string.h>

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *addr)
{
    (void)ctx, (void)host, (void)addr;
    return SMFIS_CONTINUE;
}

static sfsistat on_helo(SMFICTX *ctx, char *name)
{
    (void)ctx, (void)name;
    return SMFIS_CONTINUE;
}

static sfsistat on_path(SMFICTX *ctx, char **argv)
{
    (void)ctx, (void)argv;
    return SMFIS_CONTINUE;
}

static sfsistat on_event(SMFICTX *ctx)
{
    (void)ctx;
    return SMFIS_CONTINUE;
}

static sfsistat on_header(SMFICTX *ctx, char *name, char *value)
{
    (void)ctx, (void)name, (void)value;
    return SMFIS_CONTINUE;
}

static sfsistat on_body(SMFICTX *ctx, unsigned char *chunk, size_t len)
{
    (void)ctx, (void)chunk, (void)len;
    return SMFIS_CONTINUE;
}

int main(int argc, char **argv)
{
    static char name[] = "noop_all";
    struct smfiDesc description = {
        .xxfi_name = name,
        .xxfi_version = SMFI_VERSION,
        .xxfi_flags = SMFIF_NONE,
        .xxfi_connect = on_connect,
        .xxfi_helo = on_helo,
        .xxfi_envfrom = on_path,
        .xxfi_envrcpt = on_path,
        .xxfi_header = on_header,
        .xxfi_eoh = on_event,
        .xxfi_body = on_body,
        .xxfi_eom = on_event,
        .xxfi_abort = on_event,
        .xxfi_close = on_event,
        .xxfi_data = on_event,
    };
    if (argc != 2 || smfi_setconn(argv[1]) != MI_SUCCESS ||
        smfi_register(description) != MI_SUCCESS) {
        fprintf(stderr, "usage: noop_all SOCKET\n");
        return 64;
    }
    return smfi_main() == MI_SUCCESS ? 0 : 1;
}
