/*
 * The dispatch table says the same as the descriptions, row by row; holes are Serve::none with all six
 * arguments. The handlers don't exist here and are never called.
 */
#include <cstdio>
#include <cstring>
#include <type_traits>

#include "sysent.h"

namespace cr {
#include "sysent.inc"
} // namespace cr

static constexpr cr::SysDesc kCalls[] = {
#include "sysdesc.inc"
};

static int failures;

static void expect(bool ok, const char *name, const char *what)
{
	if (!ok) {
		std::printf("%s: %s\n", name, what);
		failures++;
	}
}

static_assert(sizeof(cr::SysEnt) == 6 && std::is_trivially_copyable_v<cr::SysEnt>);
static_assert(cr::kSysEnt[CR_SYS_fallocate].serve == cr::Serve::whole && cr::kSysEnt[CR_SYS_read].nargs == 3);
static_assert(cr::kSysEnt[CR_SYS_futex].serve == cr::Serve::quick && cr::kSysEnt[CR_SYS_futex].handler != 0);
static_assert(cr::kSysEnt[400].serve == cr::Serve::none && cr::kSysEnt[400].nargs == 6);

int main()
{
	unsigned rows = 0;
	bool handler_seen[cr::kSysUserCount + 1] = {};

	for (const cr::SysDesc &call : kCalls) {
		if (call.nr_x86_64 < 0) {
			expect(call.serve_x86_64 == cr::Serve::none, call.name, "served, but has no number");
			continue;
		}
		rows++;
		const cr::SysEnt &ent = cr::kSysEnt[call.nr_x86_64];
		expect(std::strcmp(cr::kSysNames + ent.name, call.name) == 0, call.name, "name");
		expect(ent.nargs == call.nargs, call.name, "number of arguments");
		expect(ent.serve == call.serve_x86_64, call.name, "serve");
		expect((ent.handler != 0) == (ent.serve == cr::Serve::user || ent.serve == cr::Serve::quick ||
		                              ent.serve == cr::Serve::async), call.name, "handler");
		expect(ent.handler == 0 || !handler_seen[ent.handler], call.name, "handler is another row's");
		handler_seen[ent.handler] = true;
		for (unsigned i = 0; i < 6; i++)
			expect((call.args[i].name != nullptr) == (i < call.nargs), call.name, "arguments");
	}
	for (const cr::SysEnt &ent : cr::kSysEnt)
		rows -= ent.serve != cr::Serve::none;
	expect(rows == 0, "kSysEnt", "rows that sysdesc.inc does not have");
	return failures != 0;
}
