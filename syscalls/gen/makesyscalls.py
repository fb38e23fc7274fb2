#!/usr/bin/env python3
"""makesyscalls.py: syscalls.master -> message types, dispatch table, descriptions, wrappers.

  makesyscalls.py [--arch x86_64|i386] MASTER OUTDIR

writes into OUTDIR, for the given architecture (default x86_64):

  libcr/sysunion.h   public: struct NAME_msg for each call, union sysunion, CR_SYS_NAME
  libcr/syssend.h    public: cr_send_NAME, which sends a call as a message (libcr/async.h)
  sysent.h           below the boundary: Serve, SysEnt, prototypes of the handlers of rows served in userland
  sysent.inc         the dispatch table, for the one file that defines it
  sysdesc.inc        rows of cr::SysDesc (sysdesc.h), both architectures
  wrappers.c/.map    exported wrappers and their version script

The master's own head defines its format. Reading is strict: a table that is read by guessing sends a
program's call to the wrong place. Every fault found is reported as FILE:LINE: text, all of them in one
run, and nothing is written. Standard library only, no state: the same master gives the same bytes.

Three stages, in the order of this file: read rows (Master), check what only the whole table shows
(check_*), emit (emit_*). The bodies of wrappers that are more than "pass the arguments on" are in
SPECIAL; everything else about a wrapper is in the table.
"""

import argparse
import os
import re
import sys
from dataclasses import dataclass, field

ARCHES = ("i386", "x86_64")
SERVE = ("trap", "block", "whole", "user", "quick", "async", "fold", "gone")
USERLAND = ("user", "quick", "async")  # have a handler
WRAPPER_FLAGS = ("cancel", "poserr", "noreturn", "special")
MAX_ARGS = 6

IDENT = r"[A-Za-z_]\w*"
PROTO = re.compile(rf"(?P<ret>[\w ]+?[\s*]+)(?P<name>{IDENT})\((?P<args>[^()]*)\)\Z")
ARG = re.compile(rf"(?P<type>(?:const )?(?:(?:struct|union|enum) )?{IDENT}(?: {IDENT})*?(?: \*(?:const \*?)?\**| ))(?P<name>{IDENT})\Z")
ROW = re.compile(r"(?P<i386>\S+)\s+(?P<x86_64>\S+)\s+(?P<serve>\S+)\s+\{(?P<proto>[^{}]*)\}(?P<wrap>.*)\Z")
EQUALS = re.compile(r"=\s+\{(?P<proto>[^{}]*)\}(?P<rest>.*)\Z")
LIB = re.compile(r"lib\s+\{(?P<proto>[^{}]*)\}\s+(?P<wrap>\S+)\Z")
HOLE = re.compile(r"hole\s+(?P<arch>\S+)\s+(?P<first>\d+)(?:-(?P<last>\d+))?\s+(?P<why>\S.*)\Z")
NOWRAP = re.compile(rf"nowrap\s+(?:(?P<arch>{'|'.join(ARCHES)})\s+)?(?P<names>\S+)\s+(?P<why>\S.*)\Z")
VERSION = r"\d+(?:\.\d+)+"
SYMBOL = re.compile(rf"(?P<name>{IDENT})@GLIBC_(?P<i386>{VERSION}|-(?=/))(?:/(?P<x86_64>{VERSION}|-))?\Z")
TAGGED = re.compile(rf"\b(struct|union) ({IDENT})")


# ---------------------------------------------------------------- reading


class Malformed(Exception):
    """One row can't be read. The text says what was expected."""


@dataclass
class Arg:
    type: str
    name: str

    def __str__(self):
        return self.type + self.name if self.type.endswith("*") else f"{self.type} {self.name}"


@dataclass
class Proto:
    ret: str
    name: str
    args: list
    varargs: bool = False

    def arglist(self):
        args = [str(a) for a in self.args] + (["..."] if self.varargs else [])
        return ", ".join(args) or "void"

    def __str__(self):
        gap = "" if self.ret.endswith("*") else " "
        return f"{self.ret}{gap}{self.name}({self.arglist()})"


@dataclass
class Wrapper:
    line: int
    proto: Proto
    symbols: list  # (name, {arch: version}); an architecture's first is the function, its others are aliases
    flags: set
    args: list = None  # C expressions for the trap's arguments; None: the parameters as they are

    def exports(self, arch):
        """(name, version) of what the architecture's libc has."""
        return [(name, versions[arch]) for name, versions in self.symbols if arch in versions]


@dataclass
class Row:
    line: int
    nr: dict  # arch -> number or None
    serve: dict  # arch -> one of SERVE or None
    proto: Proto
    wrappers: list = field(default_factory=list)

    @property
    def name(self):
        return self.proto.name


def parse_arg(text):
    m = ARG.match(text)
    if not m:
        raise Malformed(f"argument '{text}' is not 'type name' (no arrays, no function pointers)")
    return Arg(m["type"].strip(), m["name"])


def parse_proto(text, varargs_allowed):
    text = text.strip()
    if not text.endswith(";"):
        raise Malformed(f"prototype '{text}' does not end with ';'")
    text = text[:-1].rstrip()
    m = PROTO.match(text)
    if not m:
        raise Malformed(f"'{text}' is not a prototype 'type name(arguments)'")
    inside = m["args"].strip()
    if not inside:
        raise Malformed(f"{m['name']}: write (void) for no arguments")
    pieces = [] if inside == "void" else [p.strip() for p in inside.split(",")]
    varargs = bool(pieces) and pieces[-1] == "..."
    if varargs:
        if not varargs_allowed:
            raise Malformed(f"{m['name']}: a trap has no variable arguments")
        pieces.pop()
    args = [parse_arg(p) for p in pieces]
    if len(args) > MAX_ARGS:
        raise Malformed(f"{m['name']}: {len(args)} arguments, a trap has at most {MAX_ARGS}")
    names = [a.name for a in args]
    if len(set(names)) != len(names):
        raise Malformed(f"{m['name']}: two arguments have the same name")
    return Proto(m["ret"].strip(), m["name"], args, varargs)


def parse_symbol(m, arches):
    if m["x86_64"] is None:
        return m["name"], {a: "GLIBC_" + m["i386"] for a in arches}
    versions = {a: "GLIBC_" + m[a] for a in ARCHES if m[a] != "-"}
    if not set(versions) <= set(arches):
        raise Malformed(f"{m['name']}: a version for an architecture that does not have the call")
    if len(set(versions.values())) < len(versions) or not versions:
        raise Malformed(f"{m['name']}: write one version for both, or one for each")
    return m["name"], versions


def parse_symbols(text, arches):
    symbols, flags = [], set()
    for token in text.split(","):
        m = SYMBOL.match(token)
        if m:
            if flags:
                raise Malformed(f"symbol '{token}' stands after a flag")
            symbols.append(parse_symbol(m, arches))
        elif token in WRAPPER_FLAGS:
            flags.add(token)
        else:
            raise Malformed(f"'{token}' is neither NAME@GLIBC_x.y[/x.y] nor one of {', '.join(WRAPPER_FLAGS)}")
    if not symbols:
        raise Malformed("wrapper without a symbol")
    return symbols, flags


def parse_number(text):
    if text == "-":
        return None
    if not text.isdecimal():
        raise Malformed(f"'{text}' is neither a call number nor '-'")
    return int(text)


def parse_serve(text, nr):
    words = text.split("/")
    for word in words:
        if word not in SERVE:
            raise Malformed(f"serve '{word}' is not one of {', '.join(SERVE)}")
    if len(words) == 2:
        if None in nr.values():
            raise Malformed(f"serve '{text}' for two architectures, but the call has one")
        if words[0] == words[1]:
            raise Malformed(f"serve '{text}' says the same twice")
    elif len(words) != 1:
        raise Malformed(f"serve '{text}' is not SERVE or SERVE/SERVE")
    return {a: words[i % len(words)] if nr[a] is not None else None for i, a in enumerate(ARCHES)}


def split_expressions(text):
    """'(a, b ? c : d, 0)' -> its expressions. No nested commas: the table has no use for them."""
    return [e.strip() for e in text[1:-1].split(",")]


class Master:
    """The table as read. Faults are collected in `errors`, in the order of the lines."""

    def __init__(self, path):
        self.path = path
        self.errors = []
        self.rows = []
        self.lib = []
        self.holes = []  # (line, arch, first, last)
        self.nowrap = {a: {} for a in ARCHES}  # arch -> name -> (line, reason)
        with open(path, encoding="ascii", errors="backslashreplace") as f:
            for number, text in enumerate(f, 1):
                text = text.strip()
                if text and not text.startswith("#"):
                    try:
                        self.read_line(number, text)
                    except Malformed as e:
                        self.error(number, str(e))

    def error(self, line, text):
        self.errors.append((line, text))

    def read_line(self, line, text):
        keyword = text.split()[0]
        reader = {"=": self.read_equals, "lib": self.read_lib, "hole": self.read_hole, "nowrap": self.read_nowrap}
        reader.get(keyword, self.read_row)(line, text)

    def read_row(self, line, text):
        m = ROW.match(text)
        if not m:
            raise Malformed("expected: i386 x86_64 serve { prototype; } [wrappers]")
        nr = {a: parse_number(m[a]) for a in ARCHES}
        if all(n is None for n in nr.values()):
            raise Malformed("a row needs a number on one architecture")
        row = Row(line, nr, parse_serve(m["serve"], nr), parse_proto(m["proto"], varargs_allowed=False))
        self.rows.append(row)
        if m["wrap"].strip():
            self.add_wrapper(row, line, row.proto, m["wrap"].strip(), None)

    def read_equals(self, line, text):
        m = EQUALS.match(text)
        if not m:
            raise Malformed("expected: = { prototype; } [(arguments)] wrappers")
        if not self.rows:
            raise Malformed("'=' belongs to a row, and there is none above")
        proto = parse_proto(m["proto"], varargs_allowed=True)
        rest, args = m["rest"].strip(), None
        if rest.startswith("("):
            close = rest.rfind(")")
            args, rest = split_expressions(rest[: close + 1]), rest[close + 1 :].strip()
        self.add_wrapper(self.rows[-1], line, proto, rest, args)

    def add_wrapper(self, row, line, proto, text, args):
        symbols, flags = parse_symbols(text, [a for a in ARCHES if row.nr[a] is not None])
        if "special" not in flags:
            given = len(proto.args if args is None else args)
            if given != len(row.proto.args):
                raise Malformed(f"{proto.name}: {given} arguments for the {len(row.proto.args)} of {row.name}")
            if proto.varargs:
                raise Malformed(f"{proto.name}: variable arguments need a 'special' body")
        row.wrappers.append(Wrapper(line, proto, symbols, flags, args))

    def read_lib(self, line, text):
        m = LIB.match(text)
        if not m:
            raise Malformed("expected: lib { prototype; } wrappers")
        symbols, flags = parse_symbols(m["wrap"], ARCHES)
        if "special" not in flags:
            raise Malformed("a lib wrapper belongs to no call and so must be 'special'")
        self.lib.append(Wrapper(line, parse_proto(m["proto"], varargs_allowed=True), symbols, flags))

    def read_hole(self, line, text):
        m = HOLE.match(text)
        if not m or m["arch"] not in ARCHES:
            raise Malformed("expected: hole i386|x86_64 N[-M] reason")
        first = int(m["first"])
        last = int(m["last"] or first)
        if last < first:
            raise Malformed(f"hole {first}-{last} is empty")
        self.holes.append((line, m["arch"], first, last))

    def read_nowrap(self, line, text):
        m = NOWRAP.match(text)
        if not m:
            raise Malformed("expected: nowrap [i386|x86_64] name[,name...] reason")
        for name in m["names"].split(","):
            if not re.fullmatch(IDENT, name):
                raise Malformed(f"'{name}' is not a function's name")
            for arch in [m["arch"]] if m["arch"] else ARCHES:
                if name in self.nowrap[arch]:
                    raise Malformed(f"{name} has a nowrap row already, at line {self.nowrap[arch][name][0]}")
                self.nowrap[arch][name] = (line, m["why"])

    def wrappers(self, arch):
        """(row or None, wrapper, exports), in the order of the generated file."""
        every = [(None, w) for w in self.lib] + [(r, w) for r in rows_of(self, arch) for w in r.wrappers]
        return [(r, w, w.exports(arch)) for r, w in every if w.exports(arch)]


# ---------------------------------------------------------------- checks on the whole table


def check_numbers(master, arch):
    """Each number and each name once; every gap declared as a hole, and no hole where a call is."""
    by_number, by_name = {}, {}
    for row in master.rows:
        nr = row.nr[arch]
        if nr is None:
            continue
        if nr in by_number:
            master.error(row.line, f"{arch} {nr} is {by_number[nr].name} already, at line {by_number[nr].line}")
        if row.name in by_name:
            master.error(row.line, f"{arch} {row.name} has a row already, at line {by_name[row.name].line}")
        by_number.setdefault(nr, row)
        by_name.setdefault(row.name, row)
    declared = {}
    for line, hole_arch, first, last in master.holes:
        if hole_arch != arch:
            continue
        for nr in range(first, last + 1):
            if nr in by_number:
                master.error(line, f"{arch} {nr} is no hole: {by_number[nr].name}, line {by_number[nr].line}")
            if nr in declared:
                master.error(line, f"{arch} {nr} is declared a hole at line {declared[nr]} too")
            declared[nr] = line
    highest = max(by_number, default=-1)
    for nr, line in declared.items():
        if nr > highest:
            master.error(line, f"{arch} {nr} is past the last call, not a hole")
    previous = -1
    for nr in sorted(by_number):
        gap = [n for n in range(previous + 1, nr) if n not in declared]
        if gap:
            span = str(gap[0]) if len(gap) == 1 else f"{gap[0]}-{gap[-1]}"
            master.error(by_number[nr].line, f"{arch} {span} before {by_number[nr].name} is neither a row nor a hole")
        previous = nr


def check_wrappers(master, arch):
    seen, nowrap = {}, master.nowrap[arch]
    for _, w, exports in master.wrappers(arch):
        for name, _ in exports:
            if name in seen:
                master.error(w.line, f"symbol {name} is exported already, at line {seen[name]}")
            seen.setdefault(name, w.line)
            if name in nowrap:
                master.error(w.line, f"symbol {name} has a nowrap row, at line {nowrap[name][0]}")
        first = exports[0][0]
        if "special" in w.flags:
            if first not in SPECIAL[arch]:
                master.error(w.line, f"{first} is special, but the generator has no body for it")
            if w.args is not None or w.flags != {"special"}:
                master.error(w.line, f"{first} is special: its body decides on arguments and flags")
        elif w.flags - {"cancel"} and len(w.flags) > 1:
            master.error(w.line, f"{first}: flags {', '.join(sorted(w.flags))} exclude each other")


# ---------------------------------------------------------------- emitting


def banner(what):
    return f"/*\n * Generated by makesyscalls.py from syscalls.master. Do not edit: edit the table.\n *\n{what} */\n"


def rows_of(master, arch):
    return sorted((r for r in master.rows if r.nr[arch] is not None), key=lambda r: r.nr[arch])


def quote(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


SYSUNION_HEAD = """\
 * The typed messages. struct NAME_msg is the message of the call NAME: struct sysmsg and then an
 * 8-byte slot for each argument, in the order of the trap's registers. The member `fd` of a slot
 * has the argument's C type; `fd_slot` is the whole slot. Only the typed part of a slot has a
 * meaning (the kernel too reads 32 bits of an int), so to compare whole slots extend them first.
 *
 * union sysunion is what each LWKT carries as td_sysmsg and what a port is handed:
 *
 *     static int my_beginmsg(union sysunion *m)
 *     {
 *             if (m->sm.sm_nr == CR_SYS_read && m->read_.fd == 0) ...
 *     }
 *
 * sm and raw are the untyped views. The member of a call is its name and an underscore (read_, break_):
 * bare names would collide with keywords, with macros of libc's headers and with sm and raw.
 * sm_nr tells which member is valid, and a call that is not listed here (a kernel newer than this
 * header) has raw alone. sigset_t * points to the kernel's 8 bytes, struct kernel_sigaction,
 * struct siginfo and struct sigaltstack are the kernel's layouts.
"""

SYSUNION_TOP = """\
#ifndef LIBCR_SYSUNION_H
#define LIBCR_SYSUNION_H

#include <libcr/sysmsg.h>

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifndef __%(arch)s__
#error "this sysunion.h was generated for %(arch)s"
#endif
"""


def emit_sysunion(master, arch):
    rows = rows_of(master, arch)
    out = [banner(SYSUNION_HEAD), SYSUNION_TOP % {"arch": arch}]
    tags = sorted({m for r in rows for a in r.proto.args for m in TAGGED.findall(a.type)}, key=lambda t: t[1])
    out.append("\n".join(f"{kind} {tag};" for kind, tag in tags) + "\n")
    out.append("\n".join(f"#define CR_SYS_{r.name} {r.nr[arch]}" for r in rows))
    out.append(f"#define CR_SYS_max {rows[-1].nr[arch]} /* the highest number in the table */\n")
    for r in rows:
        slots = "".join(f"\tSYSARG({a.type}, {a.name});\n" for a in r.proto.args)
        out.append(f"/* {r.proto} */\nstruct {r.name}_msg {{\n\tstruct sysmsg sm;\n{slots}}};\n")
    members = "".join(f"\tstruct {r.name}_msg {r.name}_;\n" for r in rows)
    out.append(f"union sysunion {{\n\tstruct sysmsg sm;\n\tstruct sysmsg_raw raw;\n{members}}};\n")
    out.append("#define CR_SYSMSG_SIZE(nargs) (sizeof(struct sysmsg) + 8 * (nargs))")
    for r in rows:
        want = f"CR_SYSMSG_SIZE({len(r.proto.args)})"
        out.append(f'static_assert(sizeof(struct {r.name}_msg) == {want}, "slots of {r.name}");')
    out.append('static_assert(sizeof(union sysunion) == sizeof(struct sysmsg_raw), "six slots");')
    out.append("#undef CR_SYSMSG_SIZE\n\n#endif /* LIBCR_SYSUNION_H */")
    return "\n".join(out) + "\n"


SYSSEND_HEAD = """\
 * cr_send_NAME(m, reply_port, arguments): makes *m the message of the call NAME and sends it to syscall_port,
 * for each call that can be sent (libcr/async.h has the rules). The reply goes to `reply_port`.
"""

# Calls served by a function that looks at the trap frame can't be sent; these have no use for it.
FRAMELESS = {"pselect6", "pselect6_time64", "ppoll", "ppoll_time64", "epoll_pwait", "epoll_pwait2", "unshare"}
UNSENDABLE = {"ptrace", "restart_syscall"}


def emit_syssend(master, arch):
    out = [banner(SYSSEND_HEAD), "#ifndef LIBCR_SYSSEND_H\n#define LIBCR_SYSSEND_H\n\n#include <libcr/async.h>\n"]
    for r in rows_of(master, arch):
        serve = r.serve[arch]
        if serve == "gone" or r.name in UNSENDABLE or (serve == "user" and r.name not in FRAMELESS):
            continue
        params = "".join(f", {a.type}{'' if a.type.endswith('*') else ' '}{a.name}" for a in r.proto.args)
        fills = "".join(f"\tcr_m->{r.name}_.{a.name} = {a.name};\n" for a in r.proto.args)
        out.append(f"static inline void cr_send_{r.name}(union sysunion *cr_m, lwkt_port_t cr_reply_port{params})\n"
                   f"{{\n\tcr_async_init(cr_m, CR_SYS_{r.name}, cr_reply_port);\n{fills}\tcr_async_send(cr_m);\n}}\n")
    out.append("#endif /* LIBCR_SYSSEND_H */")
    return "\n".join(out) + "\n"


SYSENT_HEAD = """\
 * The dispatch table's types and the handlers of the rows served in userland. sysent.inc has the tables themselves.
 *
 * A handler gets the calling LWKT's message and answers as mp_beginmsg does: 0 or a positive errno (the
 * call is finished, the result in the message) or EASYNC. It starts with a typed reference:
 *
 *     int cr::sys_futex(union sysunion *m) { struct futex_msg &msg = m->futex_; ... }
 *
 * A prototype here without a function somewhere is a link error, by intent.
"""


def emit_sysent_h(master, arch):
    rows = rows_of(master, arch)
    user = [r for r in rows if r.serve[arch] in USERLAND]
    protos = "\n".join(f"int sys_{r.name}(union sysunion *m); /* {r.proto} */" for r in user)
    return f"""{banner(SYSENT_HEAD)}#pragma once

#include <libcr/sysunion.h>

#include <cstdint>

#include "sysdesc.h"

namespace cr {{

using SysHandler = int (*)(union sysunion *);

/* Six bytes a row and no pointer, so that the table needs no relocation. */
struct SysEnt {{
	uint16_t name;   /* offset in kSysNames */
	uint8_t nargs;   /* slots that have a meaning */
	Serve serve;
	uint8_t handler; /* index in kSysHandlers, 0 if the row has none */
}};

constexpr uint32_t kSysCount = {rows[-1].nr[arch] + 1}; /* numbers in the table: 0 to kSysCount - 1 */
constexpr unsigned kSysUserCount = {len(user)};  /* handlers */

{protos}

}} // namespace cr
"""


SYSENT_INC_HEAD = """\
 * The dispatch tables. Include this once, inside namespace cr, after sysent.h.
 *
 * kSysEnt is indexed by call number; check it against kSysCount first. A number in a hole holds kNosys,
 * which is also the entry for every number past the end: Serve::none is trapped with all six arguments,
 * because the kernel may be newer than the table. Of the three tables only kSysHandlers has relocations.
"""


def emit_sysent_inc(master, arch):
    rows = {r.nr[arch]: r for r in rows_of(master, arch)}
    names, offset = [], {}
    at = 0
    for name in ["nosys"] + sorted({r.name for r in rows.values()}):
        offset[name] = at
        names.append(f"\t{quote(name)} \"\\0\"")
        at += len(name) + 1
    handlers = [r.name for r in rows.values() if r.serve[arch] in USERLAND]
    entries = []
    for nr in range(max(rows) + 1):
        r = rows.get(nr)
        if r is None:
            entries.append(f"\tkNosys, /* {nr} */")
            continue
        index = handlers.index(r.name) + 1 if r.name in handlers else 0
        entries.append(f"\t{{{offset[r.name]}, {len(r.proto.args)}, Serve::{r.serve[arch]}, {index}}}, /* {nr} {r.name} */")
    names_text = "\n".join(names)
    handlers_text = "\n".join(f"\tsys_{name}," for name in handlers)
    entries_text = "\n".join(entries)
    return f"""{banner(SYSENT_INC_HEAD)}constexpr char kSysNames[] =
{names_text};

constexpr SysEnt kNosys = {{0, {MAX_ARGS}, Serve::none, 0}};

constexpr SysEnt kSysEnt[kSysCount] = {{
{entries_text}
}};

constexpr SysHandler kSysHandlers[kSysUserCount + 1] = {{
	nullptr,
{handlers_text}
}};
"""


SYSDESC_HEAD = """\
 * Rows of cr::SysDesc, which sysdesc.h documents. Include this between the braces of an array.
"""


def emit_sysdesc(master):
    out = [banner(SYSDESC_HEAD)]
    for r in master.rows:
        nr = {a: -1 if r.nr[a] is None else r.nr[a] for a in ARCHES}
        serve = {a: f"cr::Serve::{r.serve[a] or 'none'}" for a in ARCHES}
        args = ", ".join(f"{{.type = {quote(a.type)}, .name = {quote(a.name)}}}" for a in r.proto.args)
        symbols = " ".join(name for w in r.wrappers for name, _ in w.symbols)
        out.append(
            f"{{.name = {quote(r.name)}, .nr_i386 = {nr['i386']}, .nr_x86_64 = {nr['x86_64']},\n"
            f" .serve_i386 = {serve['i386']}, .serve_x86_64 = {serve['x86_64']},\n"
            f" .nargs = {len(r.proto.args)}, .ret = {quote(r.proto.ret)}, .proto = {quote(str(r.proto))},\n"
            f" .args = {{{args}}},\n"
            f" .wrappers = {quote(symbols)}}},\n"
        )
    return "".join(out)


# ---------------------------------------------------------------- wrappers

# Bodies of wrappers that do a little more than the trap, by their first symbol. Each says what glibc
# (2.36, sysdeps/unix/sysv/linux) does beyond it; the semantics are glibc's to the letter. In these texts
# call() and cancel_call() return the raw kernel result, done() turns it into -1 and errno.
SPECIAL_COMMON = {
    "syscall": """
	/* Six longs whatever was passed: the kernel ignores those that the call does not have. */
	long a[6];
	va_list ap;
	va_start(ap, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	return done(call(number, a[0], a[1], a[2], a[3], a[4], a[5]));
""",
    "open": """
	return done(cancel_call(NR(openat), AT_FDCWD, (long)path, flags, OPEN_MODE(flags), 0, 0));
""",
    "openat": """
	return done(cancel_call(NR(openat), dirfd, (long)path, flags, OPEN_MODE(flags), 0, 0));
""",
    "ioctl": """
	VARARG(unsigned long, arg, request);
	return done(call(NR(ioctl), fd, request, arg, 0, 0, 0));
""",
    "fcntl": """
	VARARG(unsigned long, arg, cmd);
	return control(fd, cmd, arg);
""",
    "prctl": """
	unsigned long a[4];
	va_list ap;
	va_start(ap, option);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(ap, unsigned long);
	va_end(ap);
	return done(call(NR(prctl), option, a[0], a[1], a[2], a[3], 0));
""",
    "mremap": """
	void *new_address = NULL;
	if (flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) {
		va_list ap;
		va_start(ap, flags);
		new_address = va_arg(ap, void *);
		va_end(ap);
	}
	return (void *)done(call(NR(mremap), (long)old_address, old_size, new_size, flags, (long)new_address, 0));
""",
    "sched_getaffinity": """
	/* The kernel returns how many bytes it wrote; the caller gets 0 and a set without garbage. */
	size_t size = cpusetsize < INT_MAX ? cpusetsize : INT_MAX;
	long result = call(NR(sched_getaffinity), pid, size, (long)mask, 0, 0, 0);
	if (result < 0)
		return done(result);
	memset((char *)mask + result, 0, cpusetsize - result);
	return 0;
""",
    "sigtimedwait": """
	return wait_for_signal(NR(rt_sigtimedwait), set, info, timeout);
""",
    "sigwaitinfo": """
	return wait_for_signal(NR(rt_sigtimedwait), set, info, NULL);
""",
    "clock_nanosleep": """
	/* Returns the error. A thread can't wait for its own cpu clock; the process's is a pid-0 clock. */
	if (clockid == CLOCK_THREAD_CPUTIME_ID)
		return EINVAL;
	clockid_t id = clockid == CLOCK_PROCESS_CPUTIME_ID ? PROCESS_CPU_CLOCK_OF_PID_0 : clockid;
	return -cancel_call(NR(clock_nanosleep), id, flags, (long)req, (long)rem, 0, 0);
""",
    "select": """
	/* A pselect6, normalised as the old call did it, and the time left written back. */
	if (timeout == NULL)
		return done(cancel_call(NR_PSELECT6, nfds, (long)readfds, (long)writefds, (long)exceptfds, 0, sixth(0)));
	struct wide_timespec ts;
	int64_t seconds = timeout->tv_sec;
	int32_t micros = timeout->tv_usec;
	if (seconds < 0 || micros < 0)
		return done(-EINVAL);
	if (micros / 1000000 > INT64_MAX - seconds) {
		ts.tv_sec = INT64_MAX;
		ts.tv_nsec = 999999999;
	} else {
		ts.tv_sec = seconds + micros / 1000000;
		ts.tv_nsec = micros % 1000000 * 1000;
	}
	int result = done(
	    cancel_call(NR_PSELECT6, nfds, (long)readfds, (long)writefds, (long)exceptfds, (long)&ts, sixth(0)));
	timeout->tv_sec = ts.tv_sec;
	timeout->tv_usec = (int32_t)ts.tv_nsec / 1000;
	return result;
""",
    "pselect": """
	/* The kernel writes the time left; POSIX's pselect leaves it alone. */
	struct timespec copy;
	if (timeout != NULL) {
		copy = *timeout;
		timeout = &copy;
	}
	unsigned long mask[] = {(unsigned long)sigmask, KERNEL_SIGSET_SIZE};
	return done(cancel_call(NR(pselect6), nfds, (long)readfds, (long)writefds, (long)exceptfds, (long)timeout,
	    (long)mask));
""",
    "ppoll": """
	struct timespec copy; /* as in pselect */
	if (timeout != NULL) {
		copy = *timeout;
		timeout = &copy;
	}
	return done(
	    cancel_call(NR(ppoll), (long)fds, nfds, (long)timeout, (long)sigmask, KERNEL_SIGSET_SIZE, 0));
""",
    "utimensat": """
	if (path == NULL) /* the kernel would take it for futimens */
		return done(-EINVAL);
	return done(call(NR(utimensat), dirfd, (long)path, (long)times, flags, 0, 0));
""",
    "futimens": """
	if (fd < 0) /* AT_FDCWD must not mean the current directory here */
		return done(-EBADF);
	return done(call(NR(utimensat), fd, 0, (long)times, 0, 0, 0));
""",
}

# i386 alone: lock offsets and times come in two widths, and a value of 64 bits takes two registers.
SPECIAL_I386 = {
    "open64": """
	return done(cancel_call(NR(openat), AT_FDCWD, (long)path, flags | O_LARGEFILE, OPEN_MODE(flags), 0, 0));
""",
    "openat64": """
	return done(cancel_call(NR(openat), dirfd, (long)path, flags | O_LARGEFILE, OPEN_MODE(flags), 0, 0));
""",
    "fcntl": """
	/* Only an open file description's lock has no form of 32 bits in the kernel. */
	VARARG(unsigned long, arg, cmd);
	if (cmd != F_OFD_GETLK && cmd != F_OFD_SETLK && cmd != F_OFD_SETLKW)
		return control(fd, cmd, arg);
	struct flock *lock = (struct flock *)arg;
	struct flock64 wide = {.l_type = lock->l_type, .l_whence = lock->l_whence, .l_start = lock->l_start,
	    .l_len = lock->l_len, .l_pid = lock->l_pid};
	int result = control(fd, cmd, (long)&wide);
	if (result == -1 || cmd == F_OFD_SETLKW)
		return result;
	if ((off_t)wide.l_start != wide.l_start || (off_t)wide.l_len != wide.l_len)
		return done(-EOVERFLOW);
	*lock = (struct flock){.l_type = wide.l_type, .l_whence = wide.l_whence, .l_start = wide.l_start,
	    .l_len = wide.l_len, .l_pid = wide.l_pid};
	return result;
""",
    "fcntl64": SPECIAL_COMMON["fcntl"],
    "lseek": """
	int64_t position = seek(fd, offset, whence);
	return (off_t)position == position ? position : done(-EOVERFLOW);
""",
    "lseek64": """
	return seek(fd, offset, whence);
""",
    "mmap": """
	/* Of a negative offset the kernel gets a positive page number. */
	if (offset & 4095)
		return (void *)done(-EINVAL);
	return (void *)done(call(NR(mmap2), (long)addr, length, prot, flags, fd, (unsigned long)offset >> 12));
""",
    "mmap64": """
	if (offset & (~0ULL << 44 | 4095))
		return (void *)done(-EINVAL);
	return (void *)done(call(NR(mmap2), (long)addr, length, prot, flags, fd, offset >> 12));
""",
    "semtimedop": """
	struct wide_timespec wide, *limit = widen(&wide, timeout);
	return done(call(NR(semtimedop_time64), semid, (long)sops, nsops, (long)limit, 0, 0));
""",
    "epoll_pwait2": """
	struct wide_timespec wide, *limit = widen(&wide, timeout);
	return done(cancel_call(
	    NR(epoll_pwait2), epfd, (long)events, maxevents, (long)limit, (long)sigmask, KERNEL_SIGSET_SIZE));
""",
    "__select64": SPECIAL_COMMON["select"],
    "__sigtimedwait64": """
	return wait_for_signal(NR(rt_sigtimedwait_time64), set, info, timeout);
""",
}


def time64(name, call):
    """The body of `name`, for a time of 64 bits, which is another call."""
    wide = SPECIAL_COMMON[name].replace("struct timespec", "struct __kernel_timespec")
    return wide.replace(f"NR({call})", f"NR({call}_time64)")


SPECIAL_I386 |= {
    "__clock_nanosleep_time64": time64("clock_nanosleep", "clock_nanosleep"),
    "__pselect64": time64("pselect", "pselect6"),
    "__ppoll64": time64("ppoll", "ppoll"),
    "__utimensat64": time64("utimensat", "utimensat"),
    "__futimens64": time64("futimens", "utimensat"),
}
SPECIAL = {"i386": SPECIAL_COMMON | SPECIAL_I386, "x86_64": SPECIAL_COMMON}

WRAPPERS_HEAD = """\
 * The exported system calls of libcr: glibc's names, prototypes and semantics, through cr_call.
 *
 * For programs that are linked with libcr, shared or static, and wherever libc's text can't be rewritten.
 * The rewritten trap sites in libc serve everything else, so a function that is more than its trap is
 * not here at all (the nowrap rows of syscalls.master say which and why).
 *
 * All symbols are weak: in a static link libc.a's member may come in for another of its symbols, and
 * must not clash. Cancellation points do what glibc 2.36 does: nothing in a single-threaded process, else
 * asynchronous cancellation for the time of the call. So this file is compiled with -fexceptions and
 * -fasynchronous-unwind-tables (the cancellation unwinds out of cr_call) and without stack protector.
 *
 * Cost over the trap: the message's stores, two jumps more where wrapcall.h can't trap in place; a cancellation
 * point in a threaded process adds two calls of pthread_setcanceltype.
"""

WRAPPERS_TOP = """\
#define _GNU_SOURCE
#include <sys/cdefs.h>
/* Or the compiler would take the NULL checks for dead code. glibc compiles itself without it, too. */
#undef __nonnull
#define __nonnull(params)
#undef __attribute_nonnull__
#define __attribute_nonnull__(params)

%(includes)s

#include "../arch/wrapcall.h"

#define NR(name) CR_SYS_##name
%(wide)s
#ifndef __clang__ /* the table writes int *fds where libc has int fds[2] */
#pragma GCC diagnostic ignored "-Warray-parameter"
#endif

#define WRAPPER __attribute__((weak))
#if __has_attribute(copy) /* gcc; clang neither knows it nor misses it */
#define ALIAS(name, of) extern __typeof(of) name __attribute__((weak, alias(#of), copy(of)))
#else
#define ALIAS(name, of) extern __typeof(of) name __attribute__((weak, alias(#of)))
#endif
#define KERNEL_SIGSET_SIZE 8
#define PROCESS_CPU_CLOCK_OF_PID_0 ((clockid_t)-6) /* ~pid << 3 | CPUCLOCK_SCHED */

/* A zero that is the last of six arguments. The literal stands for one that the call does not have (wrapcall.h). */
static inline __attribute__((always_inline)) long sixth(long value)
{
	__asm__("" : "+r"(value));
	return value;
}

static __attribute__((noinline)) long cancel_call_threaded(
    long nr, long a1, long a2, long a3, long a4, long a5, long a6)
{
	int type;

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	long result = call(nr, a1, a2, a3, a4, a5, a6);
	pthread_setcanceltype(type, NULL);
	return result;
}

/* Inlined but for threads: a read of 4 KB costs 330 ns, and another frame around it a fiftieth of that. */
static inline __attribute__((always_inline)) long cancel_call(
    long nr, long a1, long a2, long a3, long a4, long a5, long a6)
{
	if (__libc_single_threaded)
		return call(nr, a1, a2, a3, a4, a5, a6);
	return cancel_call_threaded(nr, a1, a2, a3, a4, a5, a6);
}

static __attribute__((noinline, cold)) long failed(long result)
{
	errno = -result;
	return -1;
}

static inline __attribute__((always_inline)) long done(long result)
{
	if (__builtin_expect((unsigned long)result < -4095UL, 1))
		return result;
	return failed(result);
}

/* The mode argument of open is there if the flags say so, and must not be read otherwise. */
#define OPEN_MODE(flags)                                \\
	({                                              \\
		mode_t mode_ = 0;                       \\
		if (__OPEN_NEEDS_MODE(flags)) {         \\
			va_list ap_;                    \\
			va_start(ap_, flags);           \\
			mode_ = va_arg(ap_, mode_t);    \\
			va_end(ap_);                    \\
		}                                       \\
		mode_;                                  \\
	})

/* Read the optional argument even if the command has none, as glibc does: the kernel decides. */
#define VARARG(type, name, last)                        \\
	type name;                                      \\
	do {                                            \\
		va_list ap_;                            \\
		va_start(ap_, last);                    \\
		name = va_arg(ap_, type);               \\
		va_end(ap_);                            \\
	} while (0)

/* tgkill is not told from kill in the siginfo: POSIX knows only SI_USER. */
static int wait_for_signal(long nr, const sigset_t *set, siginfo_t *info, const void *timeout)
{
	int result = done(cancel_call(nr, (long)set, (long)info, (long)timeout, KERNEL_SIGSET_SIZE, 0, 0));
	if (result != -1 && info != NULL && info->si_code == SI_TKILL)
		info->si_code = SI_USER;
	return result;
}

static int control(int fd, int cmd, unsigned long arg)
{
	if (cmd == F_SETLKW || cmd == F_SETLKW64 || cmd == F_OFD_SETLKW)
		return done(cancel_call(NR_FCNTL, fd, cmd, arg, 0, 0, 0));
	if (cmd != F_GETOWN)
		return done(call(NR_FCNTL, fd, cmd, arg, 0, 0, 0));
	/* A process group is a negative result, which F_GETOWN's own trap can't tell from an error. */
	struct f_owner_ex owner;
	long result = call(NR_FCNTL, fd, F_GETOWN_EX, (long)&owner, 0, 0, 0);
	if (result < 0)
		return done(result);
	return owner.type == F_OWNER_PGRP ? -owner.pid : owner.pid;
}
"""

# The call that takes the widest times and offsets.
WRAPPERS_WIDE = {
    "x86_64": """\
#define wide_timespec timespec
#define NR_PSELECT6 NR(pselect6)
#define NR_FCNTL NR(fcntl)
""",
    "i386": """\
#include <linux/time_types.h>
#define wide_timespec __kernel_timespec
#define NR_PSELECT6 NR(pselect6_time64)
#define NR_FCNTL NR(fcntl64)

/* libc's with _TIME_BITS=64. */
struct timeval64 {
	int64_t tv_sec, tv_usec;
};
""",
}

WRAPPERS_I386 = """\
static int64_t seek(int fd, int64_t offset, int whence)
{
	int64_t position;
	long result = plain_call(NR(_llseek), fd, offset >> 32, offset, (long)&position, whence, 0);
	return result < 0 ? done(result) : position;
}

static struct wide_timespec *widen(struct wide_timespec *wide, const struct timespec *narrow)
{
	if (narrow == NULL)
		return NULL;
	*wide = (struct wide_timespec){narrow->tv_sec, narrow->tv_nsec};
	return wide;
}
"""

WRAPPER_INCLUDES = """\
libcr/sysunion.h errno.h fcntl.h limits.h mqueue.h poll.h pthread.h sched.h signal.h stdarg.h stdlib.h
string.h sys/epoll.h sys/eventfd.h sys/fanotify.h sys/file.h sys/fsuid.h sys/inotify.h sys/io.h sys/ioctl.h
sys/klog.h sys/mman.h sys/mount.h sys/msg.h sys/personality.h sys/pidfd.h sys/prctl.h sys/quota.h
sys/random.h sys/reboot.h sys/resource.h sys/select.h sys/sem.h sys/sendfile.h sys/shm.h sys/signalfd.h
sys/single_threaded.h sys/socket.h sys/stat.h sys/statfs.h sys/swap.h sys/sysinfo.h sys/time.h
sys/timerfd.h sys/timex.h sys/uio.h sys/utsname.h sys/wait.h sys/xattr.h termios.h threads.h time.h unistd.h
""".split()


def wrapper_body(row, w, arch):
    nargs = len(row.proto.args)
    args = w.args if w.args is not None else [a.name for a in w.proto.args]
    values = [f"(long)({e})" if not e.isidentifier() else f"(long){e}" for e in args] + ["0"] * (MAX_ARGS - nargs)
    if nargs == MAX_ARGS:
        values[-1] = re.sub(r"^\(long\)\(0\)$", "sixth(0)", values[-1])
    plain = row.serve[arch] == "trap" and "noreturn" not in w.flags
    function = "cancel_call" if "cancel" in w.flags else "plain_call" if plain else "call"
    trap = f"{function}(NR({row.name}), {', '.join(values)})"
    if "noreturn" in w.flags:
        return f"\n\tfor (;;)\n\t\t{trap};\n"
    if "poserr" in w.flags:
        return f"\n\treturn -{trap};\n"
    if w.proto.ret == "void":
        return f"\n\t{trap};\n"
    return f"\n\treturn ({w.proto.ret})done({trap});\n"


def emit_wrapper(row, w, exports, arch):
    first = exports[0][0]
    proto = Proto(w.proto.ret, first, w.proto.args, w.proto.varargs)
    body = SPECIAL[arch][first] if "special" in w.flags else wrapper_body(row, w, arch)
    aliases = "".join(f"ALIAS({name}, {first});\n" for name, _ in exports[1:])
    return f"WRAPPER {proto}\n{{{body}}}\n{aliases}"


def emit_wrappers_c(master, arch):
    left_out = {}
    for name, (line, why) in master.nowrap[arch].items():
        left_out.setdefault((line, why), []).append(name)
    comment = "".join(f" *   {', '.join(names)}: {why}\n" for (_, why), names in left_out.items())
    top = {"includes": "\n".join(f"#include <{name}>" for name in WRAPPER_INCLUDES), "wide": WRAPPERS_WIDE[arch]}
    out = [banner(WRAPPERS_HEAD + " *\n * Not here:\n" + comment), WRAPPERS_TOP % top]
    if arch == "i386":
        out.append(WRAPPERS_I386)
    out += [emit_wrapper(row, w, exports, arch) for row, w, exports in master.wrappers(arch)]
    return "\n".join(out)


def emit_wrappers_map(master, arch):
    versions = {}
    for _, _, exports in master.wrappers(arch):
        for name, version in exports:
            versions.setdefault(version, []).append(name)
    out = ["/* Generated by makesyscalls.py from syscalls.master: glibc's symbol versions of the wrappers. */\n"]
    for version in sorted(versions, key=lambda v: [int(n) for n in v.split("_")[1].split(".")]):
        names = "".join(f"\t\t{name};\n" for name in sorted(versions[version]))
        out.append(f"{version} {{\n\tglobal:\n{names}}};\n")
    return "".join(out)


# ---------------------------------------------------------------- main


def emit_all(master, arch):
    return {
        "libcr/sysunion.h": emit_sysunion(master, arch),
        "libcr/syssend.h": emit_syssend(master, arch),
        "sysent.h": emit_sysent_h(master, arch),
        "sysent.inc": emit_sysent_inc(master, arch),
        "sysdesc.inc": emit_sysdesc(master),
        "wrappers.c": emit_wrappers_c(master, arch),
        "wrappers.map": emit_wrappers_map(master, arch),
    }


def main():
    parser = argparse.ArgumentParser(description="Generate message types, tables and wrappers from syscalls.master.")
    parser.add_argument("--arch", choices=ARCHES, default="x86_64")
    parser.add_argument("master")
    parser.add_argument("outdir")
    options = parser.parse_args()

    master = Master(options.master)
    for arch in ARCHES:
        check_numbers(master, arch)
        check_wrappers(master, arch)
    if not master.errors and not rows_of(master, options.arch):
        master.error(1, f"no row for {options.arch}")
    if master.errors:
        for line, text in sorted(set(master.errors)):
            print(f"{options.master}:{line}: {text}", file=sys.stderr)
        return 1
    for name, text in emit_all(master, options.arch).items():
        path = os.path.join(options.outdir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
