"""All suites, in the order in which they run."""
from i386_suite import I386_SUITE
from languages import ERLANG_SUITE, GO_SUITE, JAVA_SUITE, NODE_SUITE
from perl_suite import PERL_SUITE
from python_suite import PYTHON_SUITE
from shell_suites import JOBS_SUITE, POSTGRESQL_SUITE, TOOLS_SUITE
from stress_suite import STRESS_SUITE

SUITES = (PYTHON_SUITE, PERL_SUITE, STRESS_SUITE, JOBS_SUITE, JAVA_SUITE, NODE_SUITE, GO_SUITE, ERLANG_SUITE, POSTGRESQL_SUITE, TOOLS_SUITE,
          I386_SUITE)
