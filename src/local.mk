# The core library: everything that all three programs share.
noinst_LIBRARIES += libsplit.a
libsplit_a_SOURCES = \
	%D%/address.c %D%/address.h \
	%D%/buf.c %D%/buf.h \
	%D%/config.c %D%/config.h \
	%D%/config_file.c %D%/config_file.h \
	%D%/dsn.c %D%/dsn.h \
	%D%/endpoint.c %D%/endpoint.h \
	%D%/err.c %D%/err.h \
	%D%/log.c %D%/log.h \
	%D%/lookup.c %D%/lookup.h \
	%D%/mem.c %D%/mem.h \
	%D%/policy.c %D%/policy.h \
	%D%/process.c %D%/process.h \
	%D%/snapshot.c %D%/snapshot.h \
	%D%/table.c %D%/table.h \
	%D%/table_inline.c \
	%D%/table_pcre.c \
	%D%/table_private.h \
	%D%/table_static.c \
	%D%/table_texthash.c \
	%D%/xtext.c %D%/xtext.h
