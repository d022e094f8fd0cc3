#!/usr/bin/perl

# corral-shim: the agent's output becomes lines with time and stream; files
# are rotated by size and no line is lost or torn.

###############################################################################

use warnings;
use strict;

use Test::More;
use Time::HiRes qw/time/;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral::Shim;

my $s = Test::Corral::Shim->new();

plan(tests => 20);

my $stamp = qr/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/;

###############################################################################

$s->start(['perl', '-e', <<'EOP']);
$| = 1;
print "one\n";
print STDERR "two\n";
print "x" x 40000, "\n";
print "\n";
print "\x00\xff binary\n";
print "no newline yet";
sleep 1000;
EOP

ok(wait_for(sub { $s->log =~ /no newline yet/ }), 'a prompt is seen');

my $log = $s->log;

like($log, qr/\A$stamp S started pid \d+, incarnation 1\n/, 'start');
like($log, qr/^$stamp O one\n/m, 'standard output');
like($log, qr/^$stamp E two\n/m, 'standard error');
like($log, qr/^$stamp O \n/m, 'empty line');
like($log, qr/^$stamp O \x00\xff binary\n/m, 'bytes as they are');
like($log, qr/^$stamp O\+ no newline yet\n/m, 'unended line is marked');

my @parts = $log =~ /^$stamp (O\+? x+)\n/mg;
is(join('', map { /(x+)/ } @parts), 'x' x 40000, 'long line is whole');
is(join(' ', map { /^(\S+)/ } @parts), 'O+ O+ O', 'split with a mark');
cmp_ok(length $parts[0], '<', 16384, 'in records of less than 16 kB');

$s->finish();
like($s->log, qr/^$stamp S ended by signal 9\n\z/m, 'end');

# numbered lines over many small files

my $r = Test::Corral::Shim->new(log_max => 8192, log_files => 100);

$r->start(['perl', '-e', 'for (1 .. 5000) { print "line $_\n" }']);
$r->wait_message('gone');

my @files = sort { ($b =~ /(\d+)$/)[0] <=> ($a =~ /(\d+)$/)[0] }
    glob $r->log_file . '.*';

cmp_ok(scalar @files, '>', 15, 'rotated: ' . @files . ' times');

my @numbers = map { slurp($_) =~ /^$stamp O line (\d+)\n/mg } @files,
    $r->log_file;
ok("@numbers" eq join(' ', 1 .. 5000), 'no line is lost, none twice');
ok(!(grep { -s $_ > 8192 } @files), 'no file is larger than its limit');
is(scalar(grep { slurp($_) !~ /\n\z/ } @files), 0, 'no line is torn');
$r->finish();

# more than is kept: the oldest goes

my $k = Test::Corral::Shim->new(log_max => 8192, log_files => 2);

$k->start(['perl', '-e', 'for (1 .. 5000) { print "line $_\n" }']);
$k->wait_message('gone');

is(join(' ', map { s/.*log//r } sort glob $k->log_file . '*'), ' .1 .2',
    'two rotated files are kept');
like($k->log, qr/O line 5000\n/, 'the newest lines');
$k->finish();

###############################################################################
