// SPDX-License-Identifier: BSD-2-Clause
/*
 * Has a chosen call of the TEE to tee-supplicant fail, and all after it if
 * wanted: loaded into the supplicant with LD_PRELOAD, in the lab alone. What
 * the TEE learns is what Linux tells it where a client is killed that waits, or
 * the supplicant ends; and as there, what was asked for may have been done.
 *
 * PLAN is a file of struct plan, which a test writes and reads.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/tee.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PLAN "/run/failing-calls"
#define TRACED 4096
/* More than the supplicant has room for in a request */
#define REQUEST_MAX 1024

/* From optee_client's and OP-TEE's interface: what a call is for */
#define RPC_CMD_FS 2
#define RPC_CMD_SHM_ALLOC 6
#define RPC_CMD_SHM_FREE 7
#define TEEC_ERROR_COMMUNICATION 0xffff000e

struct plan {
	/* Calls so far */
	atomic_uint seen;
	/* The number of the call that fails, from 1; 0 for none */
	uint32_t failing;
	/* Whether that one is done nevertheless */
	uint32_t done;
	/* Whether all after it fail, too, which are not done */
	uint32_t lasting;
	/* What kind the first calls were, a letter each */
	char kinds[TRACED];
};

static struct plan *plan;
/* A thread of the supplicant asks, does, and answers in turn */
static __thread int answer_fails;

__attribute__((constructor)) static void open_plan(void)
{
	int fd = open(PLAN, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return;
	plan = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    0);
	if (plan == MAP_FAILED)
		plan = NULL;
	close(fd);
}

static char kind_of(const struct tee_iocl_supp_recv_arg *request)
{
	/* Open, create, close, read, write, truncate, unlink, rename */
	static const char file_kinds[] = "oncrwtum";
	const struct tee_ioctl_param *first = request->params;

	switch (request->func) {
	case RPC_CMD_SHM_ALLOC:
		return 'a';
	case RPC_CMD_SHM_FREE:
		return 'f';
	case RPC_CMD_FS:
		if (request->num_params &&
		    (first->attr & TEE_IOCTL_PARAM_ATTR_META))
			first++;
		if (first->a < sizeof(file_kinds) - 1)
			return file_kinds[first->a];
		return '?';
	default:
		return '?';
	}
}

/* Whether it is to be done; if not, it has failed already */
static int is_to_be_done(char kind)
{
	uint32_t place = atomic_fetch_add(&plan->seen, 1) + 1;
	int chosen = place == plan->failing;

	if (place <= TRACED)
		plan->kinds[place - 1] = kind;
	answer_fails = chosen || (plan->lasting && plan->failing &&
				  place > plan->failing);

	/* What is closed and freed would otherwise add up in the supplicant */
	return !answer_fails || (chosen && plan->done) || kind == 'c' ||
	       kind == 'f';
}

static int receive(int fd, struct tee_ioctl_buf_data *data)
{
	struct tee_iocl_supp_recv_arg *request = (void *)(uintptr_t)data->buf_ptr;
	struct tee_iocl_supp_send_arg *answer = (void *)(uintptr_t)data->buf_ptr;
	uint8_t empty[REQUEST_MAX];
	int result = 0;

	if (data->buf_len > sizeof(empty))
		return syscall(SYS_ioctl, fd, TEE_IOC_SUPPL_RECV, data);

	memcpy(empty, request, data->buf_len);
	while (1) {
		result = syscall(SYS_ioctl, fd, TEE_IOC_SUPPL_RECV, data);
		if (result || is_to_be_done(kind_of(request)))
			return result;

		answer->ret = TEEC_ERROR_COMMUNICATION;
		answer_fails = 0;
		result = syscall(SYS_ioctl, fd, TEE_IOC_SUPPL_SEND, data);
		if (result)
			return result;
		memcpy(request, empty, data->buf_len);
	}
}

int ioctl(int fd, unsigned long number, ...)
{
	struct tee_iocl_supp_send_arg *answer = NULL;
	struct tee_ioctl_buf_data *data = NULL;
	va_list list;

	va_start(list, number);
	data = va_arg(list, void *);
	va_end(list);

	if (plan && number == TEE_IOC_SUPPL_RECV)
		return receive(fd, data);
	if (number == TEE_IOC_SUPPL_SEND && answer_fails) {
		answer = (void *)(uintptr_t)data->buf_ptr;
		answer->ret = TEEC_ERROR_COMMUNICATION;
		answer_fails = 0;
	}

	return syscall(SYS_ioctl, fd, number, data);
}
