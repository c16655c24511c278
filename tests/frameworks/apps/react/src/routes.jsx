import { Link } from 'react-router';

const Page = ({ title, to }) => (
  <>
    <title>{title}</title>
    <Link id="next" to={to}>on</Link>
  </>
);

export const routes = [
  { path: '/', element: <Page title="Home" to="/about" /> },
  { path: '/about', element: <Page title="About" to="/" /> },
];
