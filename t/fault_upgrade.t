#!/usr/bin/perl

# The fault matrix: the binary is upgraded (USR2, WINCH, QUIT).  Nobody is affected:
# the old binary ends with its last connection.  The new one begins with the
# state file, and counts in a zone of its own: until the old one has ended, the
# list and the leases are the two sources.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Fault;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

# the fault takes a while: it is to be over before they are all answered

$Test::Corral::Fault::BURST = 10;

my $f = Test::Corral::Fault->new();
my $t = $f->t();

$f->plan(15);
$f->begin();

###############################################################################

# the state file is written a moment after a change

my $revision = $t->status()->{revision};
ok(wait_for(sub {
    $t->read_file('gateway.state') =~ /"revision":$revision\b/ }),
    'the state file has all of it');

my $old;

$f->strike(sub { $old = $t->upgrade() });
isnt($t->master(), $old, 'another master');

my @before = $f->others();
my @new = $f->connect(6);

is(sources(), '30 live, 30 listed, 30 in leases', 'all of both binaries');
$f->unharmed();

my $counts = $t->counts();
my $counted = 0;
$counted += $_ for values %$counts;
is($counted, 6, 'the new binary counts its own');

# the last connection of the old binary ends

$f->check('close', ids => \@before);
ok(wait_for(sub { !Test::Corral::alive($old) }, 6), 'the old binary ends');
$f->lives('it has ended');
is($f->check('judge', ids => \@new, timeout => 10)->{verdicts}[0], undef,
    'those of the new one live on');
ok($t->reload(), 'which reloads');
is($f->serve(), 20, 'new clients');

$f->finish();

###############################################################################

# Who lives by the checker, the list of connections, and the leases of workers.

sub sources {
    my ($live, $listed, $leased);

    wait_for(sub {
        my %rows = $f->rows();
        ($live, $listed, $leased) = (scalar keys %rows, 0, 0);
        $listed += $_ for values %{ $f->s()->listed('echo') };
        $leased += $_->{connections} for $f->s()->workers();
        $live == $listed && $live == $leased;
    });

    return "$live live, $listed listed, $leased in leases";
}
