/* SPDX-License-Identifier: ISC */
/*
 * fuzz_replay: the main() of a fuzzer that was built without libFuzzer. It passes each file named
 * as an argument to the fuzzer; without arguments, for a program called fuzz_NAME, each file of
 * $SPLIT_SOURCE_DIR/tests/corpus/NAME. Without a corpus it exits with 77, a skip that the log
 * explains.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_SIZE_MAX (16 * 1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Run the fuzzer on a file: 0, or -1 if the file cannot be read. The input is a heap block of its
 * exact size, so that sanitizers see overruns. */
static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return -1;
    }
    int result = -1;
    uint8_t *whole = malloc(INPUT_SIZE_MAX);
    uint8_t *exact = NULL;
    if (whole == NULL)
        goto out;
    size_t size = fread(whole, 1, INPUT_SIZE_MAX, f);
    exact = malloc(size > 0 ? size : 1);
    if (ferror(f) || exact == NULL)
        goto out;
    memcpy(exact, whole, size);
    LLVMFuzzerTestOneInput(exact, size);
    result = 0;
out:
    free(exact);
    free(whole);
    if (fclose(f) != 0)
        result = -1;
    if (result != 0)
        fprintf(stderr, "%s: cannot read\n", path);
    return result;
}

static int replay_directory(const char *directory)
{
    struct dirent **names = NULL;
    int count = scandir(directory, &names, NULL, alphasort);
    int result = 0;
    unsigned files = 0;
    for (int i = 0; i < count; i++) {
        char path[PATH_MAX];
        if (names[i]->d_name[0] != '.') {
            if (snprintf(path, sizeof path, "%s/%s", directory, names[i]->d_name) >=
                    (int)sizeof path ||
                replay_file(path) != 0)
                result = 1;
            files++;
        }
        free(names[i]);
    }
    free(names);
    if (files == 0) {
        printf("SKIP: no corpus in %s\n", directory);
        return 77;
    }
    printf("%u inputs replayed\n", files);
    return result;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        int result = 0;
        for (int i = 1; i < argc; i++)
            if (replay_file(argv[i]) != 0)
                result = 1;
        return result;
    }
    const char *source = getenv("SPLIT_SOURCE_DIR");
    const char *base = strrchr(argv[0], '/');
    base = base != NULL ? base + 1 : argv[0];
    char directory[PATH_MAX];
    if (strncmp(base, "fuzz_", 5) != 0 ||
        snprintf(directory, sizeof directory, "%s/tests/corpus/%s", source != NULL ? source : ".",
                 base + 5) >= (int)sizeof directory) {
        fprintf(stderr, "%s: not called fuzz_NAME\n", argv[0]);
        return 1;
    }
    return replay_directory(directory);
}
