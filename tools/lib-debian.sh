# What tools/check and tools/demo share: what has to be installed, and how it gets there.
#
# Sourced by bash scripts under `set -eu`, not run. Debian 12's package names; everything comes from
# Debian itself. Nothing is installed that is there already, so a second run touches no package.

# Building libcr. catch2 is among them because the tests are configured with the rest; g++-multilib makes
# the library for 32-bit programs.
readonly BUILD_PACKAGES=(g++ g++-multilib cmake ninja-build python3 binutils libzydis-dev libzycore-dev
  libcli11-dev catch2 liburing-dev libdw-dev)

# What the tests run under libcr or look at it with. A Rust compiler is used if there is one, but is
# not worth its download.
readonly TEST_PACKAGES=(xz-utils zstd pigz sqlite3 git make perl procps libcap2-bin
  libpython3.11-testsuite)

# What the demonstration runs.
readonly DEMO_PACKAGES=(xz-utils util-linux)

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }
die() { say "$*"; exit 1; }

# Prints the given packages that are not installed.
missing_packages() {
  local package
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
      printf '%s\n' "$package"
  done
}

# need_packages NAME...: installs what is missing, or says how to.
need_packages() {
  local missing
  command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    die "this is no Debian system (no dpkg-query or apt-get); needed are: $*"
  mapfile -t missing < <(missing_packages "$@")
  ((${#missing[@]})) || return 0
  if ((EUID != 0)); then
    say "missing packages: ${missing[*]}"
    die "as root: apt-get install --no-install-recommends ${missing[*]}"
  fi
  say "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # A source of somebody else's that can't be reached is no reason to stop.
  apt-get update -q >&2 || say "apt-get update failed; going on with the lists that are here"
  apt-get install -y -q --no-install-recommends -o Dpkg::Use-Pty=0 "${missing[@]}" >&2 ||
    die "apt-get could not install: ${missing[*]}"
}

# without_services COMMAND...: Debian starts the services of a package that it installs, unless a policy says not to.
without_services() {
  local policy=/usr/sbin/policy-rc.d
  if ((EUID == 0)) && [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    ("$@") || { rm -f $policy; return 1; }
    rm -f $policy
  else
    "$@"
  fi
}

# build PRESET [TARGET...]: configures and builds, in build/PRESET.
build() {
  local preset=$1
  shift
  say "building $preset"
  cmake --preset "$preset" >"/dev/null" || die "cmake --preset $preset failed"
  NINJA_STATUS='[%f/%t, %e s] ' cmake --build --preset "$preset" ${1:+--target "$@"} >&2 ||
    die "the $preset build failed"
}
