/* A libcrypto that has all that is asked of it, and makes signatures that are wrong. */
#include <stddef.h>
#include <string.h>

static int something;

const char *OpenSSL_version(int kind) { return "Liar 3.0.0"; }
unsigned long OpenSSL_version_num(void) { return 0x30000000L; }
void *d2i_AutoPrivateKey(void **key, const unsigned char **from, long length) { *from += length; return &something; }
void EVP_PKEY_free(void *key) {}
void *EVP_PKEY_CTX_new(void *key, void *engine) { return &something; }
void EVP_PKEY_CTX_free(void *context) {}
int EVP_PKEY_sign_init(void *context) { return 1; }
int EVP_PKEY_CTX_ctrl_str(void *context, const char *name, const char *value) { return 1; }
int EVP_PKEY_sign(void *context, unsigned char *signature, size_t *length, const unsigned char *digest, size_t size) {
	memset(signature, 7, *length);
	return 1;
}
void *EVP_MD_CTX_new(void) { return &something; }
void EVP_MD_CTX_free(void *context) {}
int EVP_DigestSignInit(void *context, void **operation, const void *digest, void *engine, void *key) { return 1; }
int EVP_DigestSign(void *context, unsigned char *signature, size_t *length, const unsigned char *text, size_t size) {
	memset(signature, 7, *length);
	return 1;
}
unsigned long ERR_get_error(void) { return 0; }
void ERR_clear_error(void) {}
#ifndef OLD
void ERR_error_string_n(unsigned long error, char *text, size_t size) { text[0] = 0; }
#endif
