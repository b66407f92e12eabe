/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The broker, and the core that loads a TA, as the store sees them.
 */
#ifndef CLIENT_H
#define CLIENT_H

#include <kernel/pseudo_ta.h>
#include <kernel/ts_store.h>
#include <otrp_store.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <tee_api_types.h>

struct name {
	uint8_t octets[PTA_OTRP_STORE_NAME_SIZE];
};

struct name image_name(const TEE_UUID *uuid);
struct name data_name(uint8_t kind, uint8_t number);

/* NULL where the core's memory is used up */
void *client_open(void);
void client_close(void *session);
/* As the broker */
TEE_Result invoke(void *session, uint32_t command, uint32_t types,
		  TEE_Param params[TEE_NUM_PARAMS]);

/* The commands, with parameters of the right types */
TEE_Result client_load(void *session, void *record, size_t *size);
TEE_Result client_begin(void *session, struct name name, uint8_t owner,
			uint32_t size, uint32_t version);
TEE_Result client_write(void *session, const void *octets, size_t size);
TEE_Result client_seal(void *session);
TEE_Result client_abort(void *session);
/* BEGIN, WRITE in pieces, SEAL */
TEE_Result client_put(void *session, struct name name, uint8_t owner,
		      const void *octets, size_t size, uint32_t version);
TEE_Result client_commit(void *session, const void *record, size_t size,
			 const struct name *names, size_t count);
TEE_Result client_read(void *session, struct name name, void *octets,
		       size_t *size);
TEE_Result client_query(void *session, struct name name, uint8_t *digest,
			uint32_t *size, uint32_t *version);

/* The loader, for a TA that loads itself */
TEE_Result image_open(const TEE_UUID *uuid, struct ts_store_handle **image);
/* The rest of it, to its end; no more than *size */
TEE_Result image_read(struct ts_store_handle *image, void *octets,
		      size_t *size);
void image_close(struct ts_store_handle *image);

#endif
