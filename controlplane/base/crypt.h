
/*
 * Random, digests and comparisons that take the same time for every input.
 * libcrypto does the work.  See crypt.c.
 */


#ifndef _CORRALD_CRYPT_H_INCLUDED_
#define _CORRALD_CRYPT_H_INCLUDED_


#include <stddef.h>


#define CORRALD_CRYPT_HEX  65        /* 32 bytes as hexadecimal and a NUL */


int corrald_crypt_random(void *data, size_t len)
    __attribute__((warn_unused_result));
int corrald_crypt_random_hex(char *hex, size_t bytes)
    __attribute__((warn_unused_result));
int corrald_crypt_uuid(char *uuid) __attribute__((warn_unused_result));
void corrald_crypt_sha256(const void *data, size_t len, char *hex);
void corrald_crypt_hmac(const void *key, size_t klen, const void *data,
    size_t len, char *hex);
int corrald_crypt_equal(const char *a, const char *b);


#endif /* _CORRALD_CRYPT_H_INCLUDED_ */
