# The core library: everything that all three programs share. One module a line, in alphabetical order.
noinst_LIBRARIES += libsplit.a
libsplit_a_SOURCES =
libsplit_a_SOURCES += %D%/address.c %D%/address.h
libsplit_a_SOURCES += %D%/buf.c %D%/buf.h
libsplit_a_SOURCES += %D%/dsn.c %D%/dsn.h
libsplit_a_SOURCES += %D%/err.c %D%/err.h
libsplit_a_SOURCES += %D%/log.c %D%/log.h
libsplit_a_SOURCES += %D%/mem.c %D%/mem.h
libsplit_a_SOURCES += %D%/process.c %D%/process.h
libsplit_a_SOURCES += %D%/smtp_command.c %D%/smtp_command.h
libsplit_a_SOURCES += %D%/smtp_reply.c %D%/smtp_reply.h
libsplit_a_SOURCES += %D%/stream.c %D%/stream.h
libsplit_a_SOURCES += %D%/utf8.c %D%/utf8.h
libsplit_a_SOURCES += %D%/xtext.c %D%/xtext.h
