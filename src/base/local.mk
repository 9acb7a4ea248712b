# SPDX-License-Identifier: ISC
# Memory, text, errors, log, process.
noinst_LIBRARIES += libsplit.a librelay.a
libsplit_a_SOURCES =
librelay_a_SOURCES =
libsplit_a_SOURCES += %D%/ascii.c %D%/ascii.h
libsplit_a_SOURCES += %D%/base64.c %D%/base64.h
libsplit_a_SOURCES += %D%/buf.c %D%/buf.h
libsplit_a_SOURCES += %D%/casefold.c %D%/casefold.h
libsplit_a_SOURCES += %D%/clock.c %D%/clock.h
libsplit_a_SOURCES += %D%/err.c %D%/err.h
libsplit_a_SOURCES += %D%/fdio.c %D%/fdio.h
libsplit_a_SOURCES += %D%/hash.c %D%/hash.h
libsplit_a_SOURCES += %D%/json_value.c %D%/json_value.h
libsplit_a_SOURCES += %D%/log.c %D%/log.h
libsplit_a_SOURCES += %D%/log_format.c %D%/log_format.h
libsplit_a_SOURCES += %D%/log_journal.c %D%/log_journal.h
libsplit_a_SOURCES += %D%/log_thread.c %D%/log_thread.h
libsplit_a_SOURCES += %D%/mem.c %D%/mem.h
libsplit_a_SOURCES += %D%/process.c %D%/process.h
libsplit_a_SOURCES += %D%/slice.c %D%/slice.h
libsplit_a_SOURCES += %D%/string_list.c %D%/string_list.h
libsplit_a_SOURCES += %D%/utf8.c %D%/utf8.h
libsplit_a_SOURCES += %D%/verdict.c %D%/verdict.h
