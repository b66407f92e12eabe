/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef KERNEL_THREAD_H
#define KERNEL_THREAD_H

#include <stddef.h>
#include <stdint.h>
#include <tee_api_types.h>

struct mobj {
	void *data;
	size_t size;
};

enum thread_param_attr {
	THREAD_PARAM_ATTR_NONE,
	THREAD_PARAM_ATTR_VALUE_IN,
	THREAD_PARAM_ATTR_VALUE_OUT,
	THREAD_PARAM_ATTR_MEMREF_IN,
	THREAD_PARAM_ATTR_MEMREF_OUT,
};

struct thread_param {
	enum thread_param_attr attr;
	union {
		struct {
			size_t offs;
			size_t size;
			struct mobj *mobj;
		} memref;
		struct {
			uint64_t a;
			uint64_t b;
			uint64_t c;
		} value;
	} u;
};

#define THREAD_PARAM_MEMREF(direction, _mobj, _offs, _size) \
	((struct thread_param){ \
		.attr = THREAD_PARAM_ATTR_MEMREF_##direction, \
		.u.memref = { .offs = (_offs), .size = (_size), \
			      .mobj = (_mobj) } })
#define THREAD_PARAM_VALUE(direction, _a, _b, _c) \
	((struct thread_param){ \
		.attr = THREAD_PARAM_ATTR_VALUE_##direction, \
		.u.value = { .a = (_a), .b = (_b), .c = (_c) } })

#define THREAD_RPC_MAX_NUM_PARAMS	4
#define THREAD_SHM_TYPE_APPLICATION	0
#define THREAD_SHM_CACHE_USER_FS	0

void *thread_rpc_shm_cache_alloc(int user, int type, size_t size,
				 struct mobj **mobj);
uint32_t thread_rpc_cmd(uint32_t cmd, size_t num_params,
			struct thread_param *params);

#endif
