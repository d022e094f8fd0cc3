#!/usr/bin/perl

# The fault matrix: corrald is killed, and then an agent while nobody is there to
# start it again.  Traffic goes on; the next corrald adopts what lives, starts
# what died, and starts nothing twice.

###############################################################################

use warnings;
use strict;

use Test::More;

BEGIN { use FindBin; chdir($FindBin::Bin); }

use lib 'lib';
use Test::Corral;
use Test::Corral::Fault;
use Test::Corral::Shim qw/descendants/;

###############################################################################

select STDERR; $| = 1;
select STDOUT; $| = 1;

my $f = Test::Corral::Fault->new();
my $d = $f->d();

$f->plan(15);
$f->begin();

###############################################################################

my ($victim, $other) = $f->instances();

is($f->affect(sub { $_[0]{instance_id} eq $victim->{instance_id} }), 12,
    'those on one instance are affected');

$f->strike(sub { $d->kill('KILL'); kill 'KILL', $victim->{pid} });
$f->told([ 1001, 1011 ], 2);
is($f->serve(), 20, 'new clients without corrald');
$f->unharmed();

$d->start();

my %back = $f->recovered($victim);

is($back{ $other->{instance_id} }{pid}, $other->{pid}, 'adopted');
is(join(' ', map { $back{ $victim->{instance_id} }{$_} // '-' }
    qw/incarnation exit_signal/), $victim->{incarnation} + 1 . ' 9',
    'started again, and what ended it is known');
is(scalar(descendants("$d->{dir}/r/agents/")), 2, 'there is no third');
$f->lives('corrald is back');
is($f->serve(), 20, 'new clients');

$f->finish();
