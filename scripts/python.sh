# Sourced by scripts/dev and scripts/test, with $root set: finds a Python and sees to .venv.

# Sets $python to a Python of 3.11 or newer that can make virtual environments, or stops with one
# sentence. PYTHON=/path/to/python names one outright.
find_python() {
  seen=
  for candidate in ${PYTHON:+"$PYTHON"} \
    python3 python3.11 python3.12 python3.13 python3.14 python3.15 python; do
    version=$("$candidate" -I -c '
import sys
print("%d.%d.%d" % sys.version_info[:3])
if sys.version_info >= (3, 11):
    import ensurepip, venv
    print("usable")
' 2>/dev/null) || case $version in 3.*) seen="$candidate $version, without the venv module" ;; esac
    case $version in
      *usable) python=$candidate && return ;;
      [0-9]*) [ -n "$seen" ] || seen="$candidate $version" ;;
    esac
  done
  if [ "${seen%without the venv module}" != "$seen" ]; then
    echo "Switchboard found only $seen: install that too (on Debian and Ubuntu it is the" \
      "package python3-venv), then run this again." >&2
  else
    echo "Switchboard needs Python 3.11 or newer, and ${seen:+only }${seen:-none} was found:" \
      "install one, or name it with PYTHON=/path/to/python." >&2
  fi
  exit 1
}

# prepare run | prepare command | prepare test: makes .venv fit, at the price of one short Python when it is already.
prepare() {
  if [ -x "$root/.venv/bin/python" ] &&
    "$root/.venv/bin/python" -I -S "$root/scripts/environment.py" ready "$1" 2>/dev/null; then
    return
  fi
  find_python
  "$python" -I "$root/scripts/environment.py" prepare "$1"
}
