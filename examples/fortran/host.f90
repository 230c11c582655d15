! host.f90 - energy, forces and virial of a small periodic box from Fortran:  ./host model.nnp
program host
  use, intrinsic :: iso_c_binding
  use nnpcore
  implicit none
  integer(c_int), parameter :: n = 8
  type(c_ptr) :: model = c_null_ptr, work = c_null_ptr
  type(nnp_options) :: options
  type(nnp_results) :: results
  real(c_double) :: x(3, n)
  real(c_double), target :: cell(3, 3), energy, forces(3, n), virial(6)
  integer(c_int) :: species(n), i
  character(len=1024) :: path

  if (command_argument_count() /= 1) stop "usage: host model.nnp"
  call get_command_argument(1, path)
  call check(nnp_model_load(path, model))
  call nnp_default_options(options)
  options%n_threads = 1
  call check(nnp_workspace_new(model, options, work))

  cell = reshape([6.2d0, 0d0, 0d0, 0.3d0, 6.1d0, 0d0, -0.2d0, 0.1d0, 6.4d0], [3, 3]) ! one vector a column
  do i = 0, n - 1 ! a distorted simple cubic lattice
    x(:, i + 1) = matmul(cell, [mod(i, 2), mod(i / 2, 2), i / 4] / 2d0) + 0.05d0 * sin(real([3 * i, 3 * i + 1, 3 * i + 2], c_double))
  end do
  species = 0 ! the model's first
  energy = 0; forces = 0; virial = 0 ! results are added to
  results = nnp_results(energy=c_loc(energy), forces=c_loc(forces), virial=c_loc(virial))
  call check(nnp_compute_cell(model, work, n, species, x, c_loc(cell), c_null_ptr, results))

  print "(a, a, a, f8.4, a)", "species ", nnp_model_species(model, 0), ", cutoff ", nnp_model_cutoff(model), " A"
  print "(a, es24.16)", "energy ", energy
  print "(a, 6es24.16)", "virial ", virial
  do i = 1, n
    print "(a, 6es24.16)", "x f ", x(:, i), forces(:, i)
  end do
  call nnp_workspace_free(work)
  call nnp_model_free(model)

contains

  subroutine check(status)
    integer(c_int), intent(in) :: status
    if (status == NNP_OK) return
    print "(a, i0, a, a)", "host: error ", status, ": ", nnp_last_error()
    error stop 1
  end subroutine
end program
