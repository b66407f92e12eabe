/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef CRYPTO_CRYPTO_H
#define CRYPTO_CRYPTO_H

#include <tee_api_types.h>

TEE_Result crypto_hash_alloc_ctx(void **ctx, uint32_t algo);
TEE_Result crypto_hash_init(void *ctx);
TEE_Result crypto_hash_update(void *ctx, const uint8_t *data, size_t len);
TEE_Result crypto_hash_final(void *ctx, uint8_t *digest, size_t len);
void crypto_hash_free_ctx(void *ctx);

TEE_Result crypto_authenc_alloc_ctx(void **ctx, uint32_t algo);
TEE_Result crypto_authenc_init(void *ctx, TEE_OperationMode mode,
			       const uint8_t *key, size_t key_len,
			       const uint8_t *nonce, size_t nonce_len,
			       size_t tag_len, size_t aad_len,
			       size_t payload_len);
TEE_Result crypto_authenc_update_aad(void *ctx, TEE_OperationMode mode,
				     const uint8_t *data, size_t len);
TEE_Result crypto_authenc_update_payload(void *ctx, TEE_OperationMode mode,
					 const uint8_t *src, size_t len,
					 uint8_t *dst, size_t *dst_len);
TEE_Result crypto_authenc_enc_final(void *ctx, const uint8_t *src, size_t len,
				    uint8_t *dst, size_t *dst_len,
				    uint8_t *tag, size_t *tag_len);
TEE_Result crypto_authenc_dec_final(void *ctx, const uint8_t *src, size_t len,
				    uint8_t *dst, size_t *dst_len,
				    const uint8_t *tag, size_t tag_len);
void crypto_authenc_final(void *ctx);
void crypto_authenc_free_ctx(void *ctx);
TEE_Result crypto_rng_read(void *buf, size_t len);

#endif
