#!/usr/bin/perl

# A short run of t/chaos/run, which does harm to a whole Corral under load and
# judges itself: no client that a fault was not to affect lost or doubled
# anything, the others were told, counts are what lives, no process is left.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $build = $Test::Corral::BUILD;

for (qw/corrald corral-shim ngx_http_corral_module.so/) {
    plan(skip_all => "$_ is missing") unless -e "$build/$_";
}

plan(skip_all => 'python3-websockets is missing')
    if system('/usr/bin/python3 -c "import websockets" 2>/dev/null');

plan(tests => 3);

$ENV{CORRAL_BUILD} = $build;

###############################################################################

open my $fh, '-|', 'chaos/run --seed 5 --seconds 35 2>&1' or die "run: $!\n";
my @lines = map { s/\n\z//r } <$fh>;
close $fh;
my $status = $?;

note($_) for @lines;

is($status, 0, 'no violation') or diag(map { "$_\n" } @lines);

my @rounds = grep { /^ +\d+ \w+ .* as before after / } @lines;
cmp_ok(scalar @rounds, '>=', 4, 'faults came');
is(scalar(grep { /\D0 requests,/ } @rounds), 0, 'under load');
