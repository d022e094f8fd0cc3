
/*
 * libcrypto behind five small functions.
 */


#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "crypt.h"


static void corrald_crypt_hex(char *hex, const unsigned char *data,
    size_t len);


/* Fills data with random bytes fit for keys.  Returns 0 or -1. */

int
corrald_crypt_random(void *data, size_t len)
{
    return RAND_bytes(data, (int) len) == 1 ? 0 : -1;
}


/* hex has room for 2 * bytes + 1; bytes is at most 32. */

int
corrald_crypt_random_hex(char *hex, size_t bytes)
{
    unsigned char  data[32];

    if (bytes > sizeof(data) || corrald_crypt_random(data, bytes) != 0) {
        return -1;
    }

    corrald_crypt_hex(hex, data, bytes);

    return 0;
}


/* A random UUID (version 4); uuid has room for 37 bytes. */

int
corrald_crypt_uuid(char *uuid)
{
    char           hex[33];
    unsigned char  data[16];

    if (corrald_crypt_random(data, sizeof(data)) != 0) {
        return -1;
    }

    data[6] = (unsigned char) ((data[6] & 0x0f) | 0x40);
    data[8] = (unsigned char) ((data[8] & 0x3f) | 0x80);

    corrald_crypt_hex(hex, data, sizeof(data));

    snprintf(uuid, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12,
             hex + 16, hex + 20);

    return 0;
}


/* hex has room for CORRALD_CRYPT_HEX bytes. */

void
corrald_crypt_sha256(const void *data, size_t len, char *hex)
{
    unsigned int   n;
    unsigned char  md[EVP_MAX_MD_SIZE];

    n = 0;
    EVP_Digest(data, len, md, &n, EVP_sha256(), NULL);

    corrald_crypt_hex(hex, md, n);
}


/* HMAC-SHA256; hex has room for CORRALD_CRYPT_HEX bytes. */

void
corrald_crypt_hmac(const void *key, size_t klen, const void *data, size_t len,
    char *hex)
{
    unsigned int   n;
    unsigned char  md[EVP_MAX_MD_SIZE];

    n = 0;
    HMAC(EVP_sha256(), key, (int) klen, data, len, md, &n);

    corrald_crypt_hex(hex, md, n);
}


/*
 * Whether two strings are equal, in a time that depends on their lengths only:
 * for digests, whose length is no secret.
 */

int
corrald_crypt_equal(const char *a, const char *b)
{
    size_t  len;

    len = strlen(a);

    return len == strlen(b) && CRYPTO_memcmp(a, b, len) == 0;
}


static void
corrald_crypt_hex(char *hex, const unsigned char *data, size_t len)
{
    size_t  i;

    static const char  digits[] = "0123456789abcdef";

    for (i = 0; i < len; i++) {
        hex[2 * i] = digits[data[i] >> 4];
        hex[2 * i + 1] = digits[data[i] & 0x0f];
    }

    hex[2 * len] = '\0';
}
