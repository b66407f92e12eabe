// SPDX-License-Identifier: BSD-2-Clause
/*
 * No cryptography: tags and hashes only distinguish what was not forged.
 */
#include "core.h"
#include "world.h"

#include <crypto/crypto.h>
#include <string.h>
#include <tee/tee_fs_key_manager.h>
#include <utee_defines.h>

/* Four mixed words stand for SHA-256, and key the stream of the cipher */
struct mix {
	uint64_t words[4];
	uint64_t length;
	uint64_t octets;
};

static uint64_t scramble(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;

	return x ^ x >> 31;
}

static void mix_init(struct mix *m)
{
	*m = (struct mix){ { 1, 2, 3, 4 }, 0, 0 };
}

static uint64_t mix_word(uint64_t word, uint64_t value)
{
	word = (word << 23 | word >> 41) + value;

	return word ^ word << 9;
}

/* The same for the same octets in other pieces, if all but the last are of 8 */
static void mix_update(struct mix *m, const void *data, size_t len)
{
	const uint8_t *octets = data;
	size_t n = 0;

	for (n = 0; n < len; n += 8) {
		size_t lane = m->length++ % 4;
		uint64_t value = 0;

		memcpy(&value, octets + n, len - n < 8 ? len - n : 8);
		m->words[lane] = mix_word(m->words[lane], value);
	}
	m->octets += len;
}

static void mix_final(const struct mix *m, uint8_t *digest, size_t len)
{
	uint64_t out[4] = { };
	uint64_t sum = m->octets;
	size_t n = 0;

	for (n = 0; n < 8; n++) {
		sum = scramble(sum + m->words[n % 4]);
		out[n % 4] ^= sum;
	}
	memcpy(digest, out, len < sizeof(out) ? len : sizeof(out));
}

TEE_Result crypto_hash_alloc_ctx(void **ctx, uint32_t algo)
{
	(void)algo;
	*ctx = core_malloc(sizeof(struct mix));

	return *ctx ? TEE_SUCCESS : TEE_ERROR_OUT_OF_MEMORY;
}

TEE_Result crypto_hash_init(void *ctx)
{
	mix_init(ctx);

	return TEE_SUCCESS;
}

TEE_Result crypto_hash_update(void *ctx, const uint8_t *data, size_t len)
{
	mix_update(ctx, data, len);

	return TEE_SUCCESS;
}

TEE_Result crypto_hash_final(void *ctx, uint8_t *digest, size_t len)
{
	mix_final(ctx, digest, len);

	return TEE_SUCCESS;
}

void crypto_hash_free_ctx(void *ctx)
{
	core_free(ctx);
}

bool crypto_is_open;

struct cipher {
	struct mix tag;
	uint64_t key;
	/* The word that is not complete */
	uint64_t stream;
	uint64_t encrypted;
	size_t used;
};

TEE_Result crypto_authenc_alloc_ctx(void **ctx, uint32_t algo)
{
	(void)algo;
	*ctx = core_malloc(sizeof(struct cipher));

	return *ctx ? TEE_SUCCESS : TEE_ERROR_OUT_OF_MEMORY;
}

TEE_Result crypto_authenc_init(void *ctx, TEE_OperationMode mode,
			       const uint8_t *key, size_t key_len,
			       const uint8_t *nonce, size_t nonce_len,
			       size_t tag_len, size_t aad_len,
			       size_t payload_len)
{
	struct cipher *c = ctx;

	(void)mode;
	(void)tag_len;
	(void)aad_len;
	(void)payload_len;
	memset(c, 0, sizeof(*c));
	mix_init(&c->tag);
	mix_update(&c->tag, key, key_len);
	mix_update(&c->tag, nonce, nonce_len);
	mix_final(&c->tag, (uint8_t *)&c->key, sizeof(c->key));

	return TEE_SUCCESS;
}

TEE_Result crypto_authenc_update_aad(void *ctx, TEE_OperationMode mode,
				     const uint8_t *data, size_t len)
{
	struct cipher *c = ctx;

	(void)mode;
	mix_update(&c->tag, data, len);

	return TEE_SUCCESS;
}

static void next_word(struct cipher *c)
{
	c->tag.length++;
	c->stream = crypto_is_open ? 0 :
		    c->key + c->tag.length * 0x9e3779b97f4a7c15ULL;
	c->encrypted = 0;
	c->used = 0;
}

static void mix_encrypted(struct cipher *c)
{
	size_t lane = c->tag.length % 4;

	c->tag.words[lane] = mix_word(c->tag.words[lane], c->encrypted);
}

/* A stream, and a tag over what is encrypted, whatever the pieces are */
TEE_Result crypto_authenc_update_payload(void *ctx, TEE_OperationMode mode,
					 const uint8_t *src, size_t len,
					 uint8_t *dst, size_t *dst_len)
{
	struct cipher *c = ctx;
	size_t n = 0;
	size_t size = 0;

	for (n = 0; n < len; n += size) {
		uint64_t in = 0;
		uint64_t out = 0;

		if (!c->used)
			next_word(c);
		size = sizeof(in) - c->used;
		if (size > len - n)
			size = len - n;
		if (size == sizeof(in)) {
			memcpy(&in, src + n, sizeof(in));
			out = in ^ c->stream;
			memcpy(dst + n, &out, sizeof(out));
			c->encrypted = mode == TEE_MODE_ENCRYPT ? out : in;
		} else {
			memcpy((uint8_t *)&in + c->used, src + n, size);
			out = in;
			for (size_t i = c->used; i < c->used + size; i++)
				((uint8_t *)&out)[i] ^=
					((uint8_t *)&c->stream)[i];
			memcpy(dst + n, (uint8_t *)&out + c->used, size);
			c->encrypted |= mode == TEE_MODE_ENCRYPT ? out : in;
		}
		c->used += size;
		if (c->used == sizeof(in)) {
			mix_encrypted(c);
			c->used = 0;
		}
	}
	c->tag.octets += len;
	*dst_len = len;

	return TEE_SUCCESS;
}

static void finish_tag(struct cipher *c, uint8_t *tag, size_t tag_len)
{
	if (c->used)
		mix_encrypted(c);
	mix_final(&c->tag, tag, tag_len);
}

TEE_Result crypto_authenc_enc_final(void *ctx, const uint8_t *src, size_t len,
				    uint8_t *dst, size_t *dst_len,
				    uint8_t *tag, size_t *tag_len)
{
	struct cipher *c = ctx;

	if (len)
		crypto_authenc_update_payload(ctx, TEE_MODE_ENCRYPT, src, len,
					      dst, dst_len);
	finish_tag(c, tag, *tag_len);

	return TEE_SUCCESS;
}

TEE_Result crypto_authenc_dec_final(void *ctx, const uint8_t *src, size_t len,
				    uint8_t *dst, size_t *dst_len,
				    const uint8_t *tag, size_t tag_len)
{
	struct cipher *c = ctx;
	uint8_t found[32] = { };

	if (len)
		crypto_authenc_update_payload(ctx, TEE_MODE_DECRYPT, src, len,
					      dst, dst_len);
	finish_tag(c, found, tag_len);

	return memcmp(found, tag, tag_len) && !crypto_is_open ?
	       TEE_ERROR_MAC_INVALID : TEE_SUCCESS;
}

void crypto_authenc_final(void *ctx)
{
	(void)ctx;
}

void crypto_authenc_free_ctx(void *ctx)
{
	core_free(ctx);
}

/* Never the same twice, and the same in every run */
TEE_Result crypto_rng_read(void *buf, size_t len)
{
	static uint64_t state;
	uint8_t *octets = buf;
	size_t n = 0;

	for (n = 0; n < len; n++) {
		if (!(n % 8))
			state++;
		octets[n] = scramble(state) >> n % 8 * 8;
	}

	return TEE_SUCCESS;
}

TEE_Result tee_fs_fek_crypt(const TEE_UUID *uuid, TEE_OperationMode mode,
			    const uint8_t *in_key, size_t size,
			    uint8_t *out_key)
{
	size_t n = 0;

	(void)uuid;
	(void)mode;
	for (n = 0; n < size; n++)
		out_key[n] = in_key[n] ^ 0x5a;

	return TEE_SUCCESS;
}
